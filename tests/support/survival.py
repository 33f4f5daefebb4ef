"""For tests of bad days: hospitals whose rounds are short, and what a run and its sites say of themselves.

What was summed over four sites is never summed over three of them, in any run: a test that loses a site for good has a
study, and so first weights, of its own.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.study import Privacy, Study, read_study, study_text
from deploy.research.synthetic.generate import generate
from server.run.watch import read_status
from tests.support.deployment import Deployment, Process, SiteUp, environment, wait_for
from tests.support.site_policies import without_privacy

ROUNDS = 2
LAST = ROUNDS + 2  # statistics, ROUNDS times training, the last score, the test
SECONDS = 300.0
STEPS = 2_000  # of a study whose training is to last for seconds

Moment = tuple[str, int]  # after so many more events of this kind at a site


def moments(first: Moment, *others: Moment) -> list[Any]:
    """For `parametrize`: the first in every run of the tests, the others in the soak."""
    return [first, *(pytest.param(*moment, marks=pytest.mark.soak) for moment in others)]


def named(test: str, moment: Moment) -> str:
    """Of a study, and of a run."""
    return f"{test}_{moment[0].lower()}_{moment[1]}"


@contextmanager
def deployment(
    folder: Path,
    studies: Sequence[str],
    *,
    private: Iterable[str] = (),
    long: Iterable[str] = (),
    steps: int = STEPS,
    lost_site: str = "show",
) -> Iterator[Deployment]:
    """Four sites that approved these studies. `private`: with local privacy; `long`: they train for so many `steps`.

    `lost_site`: of four sites none can be lost without being shown, so a run that is to go on has sites that say so.
    """
    generate(folder / "h", sites=4, seed=0, scale=0.2)
    without_privacy(folder / "h", lost_site)
    study = read_study(folder / "h" / "study.yaml")
    # Records alone, so that a round is short.
    study = replace(study, modalities={"record": study.modalities["record"]}, rounds=ROUNDS)
    for seed, name in enumerate(studies):
        changed = replace(study, study=name, privacy=study.privacy if name in private else Privacy(), seed=seed)
        if name in long:
            changed = replace(changed, training=replace(study.training, local_steps=steps))
        write(folder, changed)
    with Deployment(folder / "d", folder / "h", warm=True) as deployed:
        for name in studies:
            deployed.approve(file_of(deployed, name))
        yield deployed


def write(folder: Path, study: Study) -> None:
    (folder / "h" / f"{study.study}.yaml").write_text(study_text(study), encoding="utf-8")


def file_of(deployed: Deployment, study: str) -> Path:
    return deployed.folder.parent / "h" / f"{study}.yaml"


def start(deployed: Deployment, name: str, *more: str, study: str) -> Process:
    return deployed.run(file_of(deployed, study), name, *more)


def site_number(deployed: Deployment, number: int) -> SiteUp:
    return list(deployed.sites.values())[number]


# ------------------------------------------------------------------------------------------------- what a run has done


def weights(deployed: Deployment, name: str) -> dict[str, np.ndarray]:
    with np.load(deployed.checkpoint(name)) as stored:
        return {part: stored[f"array/{part}"] for part in ("weights", "best")}


def undisturbed(deployed: Deployment, study: str) -> dict[str, np.ndarray]:
    """The weights of a run of the study that nothing disturbs."""
    run = start(deployed, "calm", study=study)
    assert run.wait(SECONDS) == 0, run.text
    return weights(deployed, "calm")


def is_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def rounds(deployed: Deployment, name: str) -> list[dict[str, Any]]:
    """The history in the checkpoint; empty before there is one."""
    with contextlib.suppress(OSError, ValueError, KeyError), np.load(deployed.checkpoint(name)) as stored:
        history: list[dict[str, Any]] = json.loads(stored["head"].tobytes())["history"]
        return history
    return []


def run_number(deployed: Deployment, name: str) -> str:
    """Of the run as the sites' ledgers and audit logs have it: hexadecimal digits."""
    with np.load(deployed.checkpoint(name)) as stored:
        return str(json.loads(stored["head"].tobytes())["run"])


def states(deployed: Deployment, name: str) -> dict[str, str]:
    """site -> its state, in words."""
    sites = read_status(deployed.at / "runs" / name / "status.json").sites
    return {site: found.state for site, found in sites.items()}


def require_all_back(deployed: Deployment) -> None:
    wait_for(lambda: deployed.online() == set(deployed.sites), "all connected again")


# ----------------------------------------------------------------------------------------------- what a site has done


def events(site: SiteUp, kind: str) -> list[dict[str, Any]]:
    """The audit events of a kind, the oldest first."""
    text = (site.state / "audit.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]  # the last may be torn
    return [entry for entry in found if entry["event"] == kind]


def next_event(site: SiteUp, kind: str, times: int) -> None:
    """Until the site has recorded so many more events of this kind than now."""
    before = len(events(site, kind))
    wait_for(lambda: len(events(site, kind)) >= before + times, f"{kind} at {site.name}", 120)


def require_paid_once(site: SiteUp, run: str, rounds: int = ROUNDS) -> None:
    """Every attempt is a release of its own with one entry in the ledger, and nothing was sent that was not paid for.

    `run`: its number in hexadecimal digits. `rounds`: of training, the only ones that train on patients.
    """
    ledger = [json.loads(line) for line in (site.state / "ledger.jsonl").read_text().splitlines()]
    entries = Counter((item["round"], item["attempt"], item["cohort"]) for item in ledger if item.get("run") == run)
    assert entries and set(entries.values()) == {1}
    paid = {(number, attempt) for number, attempt, cohort in entries if cohort == "training"}
    sent = [item for item in events(site, "Masked") if item["run"] == run and item["round"] <= rounds]
    assert {item["round"] for item in sent} <= {number for number, _ in paid}
    assert len(sent) <= len(paid)


# ------------------------------------------------------------------------------------------------------ bad luck itself


@contextmanager
def while_it_runs(act: Callable[[], None]) -> Iterator[None]:
    """Do `act` in the background; its failure is the test's."""
    failed: list[BaseException] = []

    def acting() -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=acting, daemon=True)
    thread.start()
    yield
    thread.join(SECONDS)
    assert not thread.is_alive(), "what was to happen meanwhile has not ended"
    if failed:
        raise failed[0]


def shifted_clock(seconds: int) -> dict[str, str]:
    """The environment of a process that believes it is so much later, or earlier. Skips where libfaketime is missing.

    Clocks that only count, as those of deadlines, are left alone: a wrong clock does not tick faster. Sites' processes
    wait for events and never sleep: under Debian 12's libfaketime `time.sleep` fails.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip("a process with a wrong clock needs libfaketime: apt-get install faketime")
    return environment(LD_PRELOAD=str(found[0]), FAKETIME=f"{seconds:+d}s", FAKETIME_DONT_FAKE_MONOTONIC="1")


def children(process: int) -> list[int]:
    """Of a process, as the kernel has them."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []
