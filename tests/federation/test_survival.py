"""Bad days: processes killed with SIGKILL at the worst moment, a server that is away, a slow site, a full disk, a line
that is cut. Each run ends with the right result, or says why not.

In `make soak` the same at many more moments.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from client.approvals import Approvals
from common.study import Privacy, read_study, study_text
from deploy.hospitals.generate import generate
from server.watch import read_status
from tests.support.deployment import Deployment, Process, SiteUp, wait_for
from tests.support.forwarder import Forwarder

ROUNDS = 2
LAST = ROUNDS + 2  # statistics, ROUNDS times training, the last score, the test
SECONDS = 300.0
LEGS = [
    ("Masked", 2),
    ("Offered", 3),
    ("Confirmed", 2),
    ("Confirmed", 3),
    ("Revealed", 2),
    ("Masked", 1),
    ("Masked", 4),
]
STUDIES = (
    *("open", "private", "agent", "line", "full", "absent", "refused", "slow"),
    *(f"site_{leg.lower()}_{times}" for leg, times in LEGS),
)
STEPS = 2_000  # of the studies whose training is to last for seconds

# After which event of a site something is killed: in the first round of training, and in the soak at other moments.
MOMENTS = [
    ("Masked", 2),
    pytest.param("Masked", 1, marks=pytest.mark.soak),
    pytest.param("Confirmed", 2, marks=pytest.mark.soak),
    pytest.param("Revealed", 2, marks=pytest.mark.soak),
]


def studies(folder: Path) -> None:
    """Records alone, so that a round is short; studies that train openly, and a private one.

    What was summed over four sites is never summed over three of them, in any run: a test that loses a site for good
    has a study, and so first weights, of its own.
    """
    study = read_study(folder / "study.yaml")
    study = replace(study, modalities={"record": study.modalities["record"]}, rounds=ROUNDS)
    for seed, name in enumerate(STUDIES):
        privacy = study.privacy if name == "private" else Privacy()
        changed = replace(study, study=name, privacy=privacy, seed=seed)
        if name in ("agent", "slow"):
            changed = replace(changed, training=replace(study.training, local_steps=STEPS))
        (folder / f"{name}.yaml").write_text(study_text(changed), encoding="utf-8")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("s")
    generate(folder / "h", sites=4, seed=0, scale=0.2)
    studies(folder / "h")
    with Deployment(folder / "d", folder / "h") as deployment:
        for name in STUDIES:
            deployment.approve(folder / "h" / f"{name}.yaml")
        yield deployment


@pytest.fixture(scope="module")
def calm(deployed: Deployment) -> dict[str, np.ndarray]:
    """The weights of a run that nothing disturbed."""
    run = start(deployed, "calm")
    assert run.wait(SECONDS) == 0, run.text
    return weights(deployed, "calm")


def start(deployed: Deployment, name: str, *more: str, study: str = "open") -> Process:
    return deployed.run(deployed.folder.parent / "h" / f"{study}.yaml", name, *more)


def weights(deployed: Deployment, name: str) -> dict[str, np.ndarray]:
    with np.load(deployed.checkpoint(name)) as stored:
        return {part: stored[f"array/{part}"] for part in ("weights", "best")}


def rounds(deployed: Deployment, name: str) -> list[dict[str, Any]]:
    """The history in the checkpoint."""
    with np.load(deployed.checkpoint(name)) as stored:
        history: list[dict[str, Any]] = json.loads(stored["head"].tobytes())["history"]
    return history


def number_of(deployed: Deployment, name: str) -> int:
    with np.load(deployed.checkpoint(name)) as stored:
        return int(json.loads(stored["head"].tobytes())["number"])


def events(site: SiteUp, kind: str) -> list[dict[str, Any]]:
    """The audit events of a kind, the oldest first."""
    text = (site.state / "audit.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]  # the last may be torn
    return [entry for entry in found if entry["event"] == kind]


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
    if failed:
        raise failed[0]


def next_event(site: SiteUp, kind: str, times: int) -> None:
    """Until the site has recorded so many more events of this kind than now."""
    before = len(events(site, kind))
    wait_for(lambda: len(events(site, kind)) >= before + times, f"{kind} at {site.name}", 120)


def is_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def status(deployed: Deployment, name: str) -> dict[str, str]:
    """site -> its state, in words."""
    sites = read_status(deployed.at / "runs" / name / "status.json").sites
    return {site: found.state for site, found in sites.items()}


# ---------------------------------------------------------------------------------------------------- the coordinator


@pytest.mark.parametrize(("leg", "times"), MOMENTS)
def test_a_run_process_that_is_killed_goes_on_to_the_same_weights(
    deployed: Deployment, calm: Any, leg: str, times: int
) -> None:
    name = f"killed_{leg.lower()}_{times}"
    run = start(deployed, name)
    next_event(next(iter(deployed.sites.values())), leg, times)
    run.kill()
    resumed = deployed.resume(name)
    assert resumed.wait(SECONDS) == 0, resumed.text
    assert is_equal(weights(deployed, name), calm)


@pytest.mark.parametrize(("leg", "times"), MOMENTS)
def test_a_superlink_that_is_away_for_20_seconds_changes_nothing(
    deployed: Deployment, calm: Any, leg: str, times: int
) -> None:
    name = f"outage_{leg.lower()}_{times}"
    run = start(deployed, name)
    next_event(next(iter(deployed.sites.values())), leg, times)
    supervisor = deployed.coordinator.popen.pid
    children = subprocess.run(["pgrep", "-P", str(supervisor)], capture_output=True, text=True, check=True).stdout
    os.kill(supervisor, signal.SIGSTOP)  # it would start another at once
    for child in children.split():
        os.kill(int(child), signal.SIGKILL)
    time.sleep(20)
    os.kill(supervisor, signal.SIGCONT)
    assert run.wait(SECONDS) == 0, run.text
    assert is_equal(weights(deployed, name), calm)


def test_nothing_is_paid_twice_for_a_round_nor_less_than_was_used(deployed: Deployment) -> None:
    """A private run whose process is killed: every attempt is its own release, with its own entry."""
    run = start(deployed, "paid", study="private")
    site = list(deployed.sites.values())[1]
    next_event(site, "Masked", 2)
    run.kill()
    resumed = deployed.resume("paid")
    assert resumed.wait(SECONDS) == 0, resumed.text
    for site in deployed.sites.values():
        ledger = [json.loads(line) for line in (site.state / "ledger.jsonl").read_text().splitlines()]
        entries = Counter(
            (item["run"], item["round"], item["attempt"], item["cohort"]) for item in ledger if "attempt" in item
        )
        assert entries and set(entries.values()) == {1}
        trained = {(run, number, attempt) for run, number, attempt, cohort in entries if cohort == "training"}
        sent = [item for item in events(site, "Masked") if item["run"] in {run for run, *_ in trained}]
        sent_in_training = [item for item in sent if item["round"] <= ROUNDS]
        assert len(sent_in_training) <= len(trained)


def test_a_site_that_is_away_is_left_out_and_taken_in_when_it_comes(deployed: Deployment) -> None:
    """Quorum, not all; and one site that has not approved the study is left out with the reason in words."""
    *_, absent = deployed.sites.values()
    absent.stop()
    wait_for(lambda: absent.name not in deployed.online(), "away", 60)
    run = start(deployed, "absent", "--wait", "3", study="absent")
    wait_for(lambda: len(rounds_so_far(deployed, "absent")) >= 1, "a round without it", 200)
    assert "connected" in status(deployed, "absent")[absent.name]
    absent.start_agent(wait=True)
    absent.start_connector()
    assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, "absent")
    assert history[0]["sites"] == 3 and all(entry["sites"] >= 3 for entry in history)
    wait_for(lambda: deployed.online() == set(deployed.sites), "all connected again")


def rounds_so_far(deployed: Deployment, name: str) -> list[dict[str, Any]]:
    try:
        return rounds(deployed, name)
    except (OSError, ValueError, KeyError):
        return []


def test_too_few_sites_that_approved_a_study_is_said_in_words(deployed: Deployment) -> None:
    one, other, *_ = deployed.sites.values()
    study = read_study(deployed.folder.parent / "h" / "refused.yaml")
    for site in (one, other):
        Approvals(site.state).pause(study.digest)
    run = start(deployed, "refused", study="refused")
    assert run.wait(SECONDS) != 0
    assert "has paused this study" in run.text and one.name in run.text and other.name in run.text


# -------------------------------------------------------------------------------------------------------------- a site


def test_an_agent_that_is_killed_in_training_is_dropped_and_back_in_the_next_round(deployed: Deployment) -> None:
    site = list(deployed.sites.values())[2]

    def kill() -> None:
        next_event(site, "Offered", 2)  # the first sum is the statistics'; the offer for the next rides on its end
        wait_for(lambda: activity(site) == "training", "training", 60)
        site.agent.kill()
        site.start_agent()

    with while_it_runs(kill):
        run = start(deployed, "agent", study="agent")
        assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, "agent")
    assert sum(entry["dropped"] for entry in history) >= 1
    assert history[-1]["sites"] == 4 and history[-1]["dropped"] == 0
    assert all(entry["sites"] >= 3 for entry in history)


def activity(site: SiteUp) -> str:
    from client.relay import RelayClient

    client = RelayClient(site.socket)
    try:
        return client.activity().state
    finally:
        client.close()


@pytest.mark.parametrize(("leg", "times"), MOMENTS)
def test_a_connector_that_is_killed_loses_nothing(deployed: Deployment, calm: Any, leg: str, times: int) -> None:
    site, name = list(deployed.sites.values())[3], f"connector_{leg.lower()}_{times}"

    def kill() -> None:
        next_event(site, leg, times)
        site.connector.kill()
        site.start_connector()

    with while_it_runs(kill):
        run = start(deployed, name)
        assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, name)
    assert history[-1]["sites"] == 4
    if not any(entry["dropped"] for entry in history):  # else it was killed between the server's word and the disk
        assert is_equal(weights(deployed, name), calm)


@pytest.mark.parametrize(
    ("leg", "times"), [LEGS[0], *(pytest.param(*moment, marks=pytest.mark.soak) for moment in LEGS[1:])]
)
def test_a_site_that_is_killed_between_two_legs_comes_back(deployed: Deployment, leg: str, times: int) -> None:
    site, name = list(deployed.sites.values())[1], f"site_{leg.lower()}_{times}"

    def kill() -> None:
        next_event(site, leg, times)
        site.agent.kill()
        site.connector.kill()
        site.start_agent(wait=True)
        site.start_connector()

    with while_it_runs(kill):
        run = start(deployed, name, study=name)
        assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, name)
    assert len(history) == LAST + 1 and all(entry["sites"] >= 3 for entry in history)
    assert np.isfinite(weights(deployed, name)["weights"]).all()
    wait_for(lambda: deployed.online() == set(deployed.sites), "all connected again")


def test_a_slow_site_hands_over_what_it_has_when_the_time_is_over(deployed: Deployment) -> None:
    """A tenth of its speed: stopped for nine tenths of the time."""
    site, done = next(iter(deployed.sites.values())), threading.Event()

    def slow_down() -> None:
        process = site.agent.popen.pid
        while not done.wait(0.01):
            os.kill(process, signal.SIGSTOP)
            time.sleep(0.09)
            os.kill(process, signal.SIGCONT)

    with while_it_runs(slow_down):
        run = start(deployed, "slow", "--time-box", "0.5", study="slow")
        try:
            assert run.wait(SECONDS) == 0, run.text
        finally:
            done.set()
    history = rounds(deployed, "slow")
    assert all(entry["dropped"] == 0 for entry in history)
    for entry in history[1 : ROUNDS + 1]:
        assert 4 <= entry["steps"] < 4 * STEPS


def test_a_line_that_is_cut_for_60_seconds(deployed: Deployment) -> None:
    site = list(deployed.sites.values())[2]
    path = site.connector_folder / "coordinator.yaml"
    before = path.read_text(encoding="utf-8")
    with Forwarder(deployed.port) as line:
        site.connector.stop()
        path.write_text(yaml.safe_dump(yaml.safe_load(before) | {"port": line.port}), encoding="utf-8")
        site.start_connector()
        wait_for(lambda: site.name in deployed.online(), "connected through the line")

        def cut() -> None:
            next_event(site, "Masked", 2)
            line.cut()
            time.sleep(60)
            line.mend()

        with while_it_runs(cut):
            run = start(deployed, "line", study="line")
            assert run.wait(SECONDS) == 0, run.text
        history = rounds(deployed, "line")
        assert all(entry["sites"] >= 3 for entry in history)
        wait_for(lambda: site.name in deployed.online(), "connected again", 60)
        site.connector.stop()
    path.write_text(before, encoding="utf-8")
    site.start_connector()
    wait_for(lambda: deployed.online() == set(deployed.sites), "all connected again")


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk needs root to mount it")
def test_a_full_disk_at_a_site_costs_that_site_alone(deployed: Deployment) -> None:
    site = list(deployed.sites.values())[3]
    site.agent.stop()
    kept = site.state.with_name("state.kept")
    site.state.rename(kept)
    site.state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(site.state)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", str(site.state)], check=True)
        site.start_agent(wait=True)

        def fill() -> None:
            next_event(site, "Masked", 1)
            with (site.state / "filler").open("wb") as file:
                try:
                    while True:
                        file.write(bytes(1 << 16))
                        file.flush()
                except OSError:
                    pass

        with while_it_runs(fill):
            run = start(deployed, "full", study="full")
            assert run.wait(SECONDS) == 0, run.text
        history = rounds(deployed, "full")
        assert all(entry["sites"] >= 3 for entry in history) and history[-1]["sites"] == 3
        assert any("refused" in reason for entry in history for reason in entry["drop_reasons"])
    finally:
        site.agent.stop()
        subprocess.run(["umount", "-l", str(site.state)], check=True)
        site.state.rmdir()
        kept.rename(site.state)
        site.start_agent(wait=True)
