"""Hospitals cannot upgrade on one day: a study over sites, and a coordinator, of which one is still of release 0.2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import ReleaseError
from common.study import Privacy, read_study, study_text
from deploy.research.synthetic.generate import generate
from server.run.checkpoint import read
from tests.support.deployment import (
    COORDINATOR,
    ROOT,
    Deployment,
    command,
    environment,
    in_own_network,
    wait_for,
)
from tests.support.reading import read_page
from tests.support.records import records_only
from tests.support.release import changed, program
from tests.support.site_policies import without_privacy

pytestmark = pytest.mark.soak
ROUNDS = 2
STUDIES = ("open", "private")
CHANGES = {"run", "started", "finished", "seconds"}  # from one run of a study to the next
NOISY = {"metrics", "comparisons", "coverage", "warnings"}  # what a private run's noise is in


@dataclass(frozen=True)
class Played:
    """What a federation's runs left in the coordinator's folder."""

    folder: Path

    def weights(self, run: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / "runs" / run / "checkpoint.npz") as stored:
            return {name: stored[name] for name in stored.files if name != "head"}

    def report(self, run: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / "runs" / run / "report.json").read_text()))


Play = Callable[[str], Played]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    """A federation of four hospitals, the same ones each time, of whom this one (or the coordinator) is of 0.2."""
    root = tmp_path_factory.mktemp("mixed")
    old = program("0.2", root)
    generate(root / "h", sites=4, seed=0, scale=0.2)
    without_privacy(root / "h")
    study = replace(read_study(root / "h" / "study.yaml"), rounds=ROUNDS)
    opened = replace(study, study="no_privacy", privacy=Privacy())
    files = {"private": study, "open": opened}
    for name, content in files.items():
        (root / "h" / f"{name}.yaml").write_text(study_text(content), encoding="utf-8")

    @cache
    def played(who: str) -> Played:
        folder, hospitals = root / f"of-{who or 'none'}", root / f"h-{who or 'none'}"
        shutil.copytree(root / "h", hospitals)
        sites = sorted(path.parent.name for path in hospitals.glob("*/site.yaml"))
        programs: Mapping[str, Path] = {name: old for name in (who,) if name}
        assert not programs or who in (*sites, COORDINATOR)
        with Deployment(folder, hospitals, agents=in_own_network, warm=True, programs=programs) as deployment:
            for name in STUDIES:
                deployment.approve(hospitals / f"{name}.yaml")
                run = deployment.run(hospitals / f"{name}.yaml", name)
                assert run.wait(280) == 0, run.text
            if who == COORDINATOR:
                killed_and_resumed(deployment, hospitals / "open.yaml")
            return Played(deployment.at)

    return played


def killed_and_resumed(deployment: Deployment, study: Path) -> None:
    """A run by the release of the coordinator, which upgrades before it goes on with it."""
    run, checkpoint = deployment.run(study, "killed"), deployment.checkpoint("killed")
    wait_for(lambda: checkpoint.exists() and read(checkpoint, read_study(study).digest).round >= 0, "round 0", 200)
    run.kill()
    said = command(ROOT, "resume", "killed", "--at", deployment.at)
    assert f"{ROUNDS}/{ROUNDS}" in said, said


def require_equal(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    """Bit by bit: the weights, and every sum that a checkpoint keeps."""
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert np.array_equal(ours[name], value, equal_nan=value.dtype.kind == "f"), name


def without(value: Any, names: set[str]) -> Any:
    """A report without these keys, wherever they stand."""
    if isinstance(value, dict):
        return {key: without(item, names) for key, item in value.items() if key not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("who", ["lindenhof", COORDINATOR])
def test_a_study_without_privacy_has_the_weights_and_the_report_that_new_ones_alone_give(play: Play, who: str) -> None:
    mixed, alone = play(who), play("")
    require_equal(mixed.weights("open"), alone.weights("open"))
    assert without(mixed.report("open"), CHANGES) == without(alone.report("open"), CHANGES)
    assert mixed.report("open")["sites"] == 4 and not any(one["dropped"] for one in mixed.report("open")["rounds"])


def test_a_run_that_0_2_began_is_gone_on_with_by_a_coordinator_that_upgraded(play: Play) -> None:
    require_equal(play(COORDINATOR).weights("killed"), play("").weights("open"))


@pytest.mark.parametrize("who", ["lindenhof", COORDINATOR])
def test_a_private_study_has_the_report_that_new_ones_alone_give_but_for_the_noise(play: Play, who: str) -> None:
    mixed, alone = play(who).report("private"), play("").report("private")
    assert without(mixed, CHANGES | NOISY) == without(alone, CHANGES | NOISY)
    assert mixed["sites"] == 4 and not any(one["dropped"] for one in mixed["rounds"])
    certified = [one["epsilon"] for one in mixed["rounds"]]
    assert 0 < certified[0] < certified[-1] <= mixed["study"]["privacy"]["epsilon"]


# ------------------------------------------------------------------------------------- a study that needs what is newer

LONG = 8  # rounds, of which a site is put back to 0.2 in one of the first
BEFORE = "Need(5, _asks_more, "
AFTER = f"Need(5, lambda study: study.rounds == {LONG}, "
OLDER, OTHER = "lindenhof", "saint_brigid"


@dataclass(frozen=True)
class Upgrading:
    """Four hospitals under a coordinator whose release has a study that only protocol 5 can say: `long`."""

    deployment: Deployment
    old: Path
    newer: Path  # the coordinator's source
    hospitals: Path

    def run(self, study: str, code: int = 0) -> str:
        run = self.deployment.run(self.hospitals / f"{study}.yaml", study)
        assert run.wait(280) == code, run.text
        return run.text

    def status(self, run: str) -> str:
        return command(self.newer, "status", run, "--at", self.deployment.at)

    def put(self, site: str, program: Path) -> None:
        """This site's agent and connector are of another release from now on; its state stays."""
        up = self.deployment.sites[site]
        up.stop()
        up.env = environment(PYTHONPATH=str(program))
        up.start_agent(wait=True)
        up.start_connector()

    def ledgers(self) -> dict[str, bool]:
        return {name: (site.state / "ledger.jsonl").exists() for name, site in self.deployment.sites.items()}


@pytest.fixture(scope="module")
def upgrading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrading]:
    """All studies approved, by each site's own command; one site is of 0.2."""
    root = tmp_path_factory.mktemp("upgrading")
    old, newer = program("0.2", root), changed(ROOT, root, "common/protocols.py", BEFORE, AFTER)
    hospitals = root / "h"
    generate(hospitals, sites=4, seed=0, scale=0.1)
    without_privacy(hospitals)
    study = read_study(hospitals / "study.yaml")
    short = records_only(study, 1)
    files = {"short": short, "long": replace(short, study="long", rounds=LONG, privacy=study.privacy)}
    for name, content in files.items():
        (hospitals / f"{name}.yaml").write_text(study_text(content), encoding="utf-8")
    programs = {COORDINATOR: newer, OLDER: old}
    with Deployment(root / "d", hospitals, agents=in_own_network, warm=True, programs=programs) as deployment:
        for name in files:
            deployment.approve(hospitals / f"{name}.yaml")
        yield Upgrading(deployment, old, newer, hospitals)


def test_who_blocks_a_study_is_said_by_name_before_anything_is_charged_and_all_else_is_played(
    upgrading: Upgrading,
) -> None:
    said = upgrading.run("long", ReleaseError.exit_code)
    for text in (said, upgrading.status("long")):
        flat = " ".join(text.split())
        assert "the study asks for more than protocol 4 has words for, which needs protocol 5, of release 0.3" in flat
        assert f"{OLDER} (protocol 4, of release 0.2)" in flat and "install release 0.3 or a newer one" in flat
    assert not any(upgrading.ledgers().values())
    assert "nothing was begun" in upgrading.status("long")
    upgrading.run("short")  # in the number that it needs, with the older site
    report = json.loads((upgrading.deployment.at / "runs" / "short" / "report.json").read_text())
    assert report["sites"] == 4 and not any(one["dropped"] for one in report["rounds"])


def test_the_same_run_is_played_when_that_hospital_has_upgraded_and_one_that_goes_back_is_lost_by_name(
    upgrading: Upgrading,
) -> None:
    """Its keys, its approval and its state are those of before; and so they are on the way back."""
    upgrading.put(OLDER, ROOT)
    deployment = upgrading.deployment
    run = deployment.run(upgrading.hospitals / "long.yaml", "long")
    wait_for(lambda: f"1/{LONG}" in run.text or not run.runs, "round 1", 200)
    upgrading.put(OTHER, upgrading.old)
    assert run.wait(280) == 0, run.text
    assert all(upgrading.ledgers().values())
    folder = deployment.at / "runs" / "long"
    report = json.loads((folder / "report.json").read_text())
    first, *_, late, _ = report["rounds"]
    assert not first["dropped"] and late["dropped"] == 1
    assert late["drop_reasons"] == {"join: speaks protocol 4, asked in 5": 1}
    words = "speaks protocol 4 at most, of release 0.2, and this study needs 5"
    assert words in " ".join(read_page((folder / "report.html").read_text()).text.split())
    for text in (run.text, upgrading.status("long")):
        assert words in " ".join(text.split()) and OTHER in text
