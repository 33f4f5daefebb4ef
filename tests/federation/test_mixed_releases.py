"""Hospitals cannot upgrade on one day: a study over sites, and a coordinator, of which one is still of release 0.2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.study import Privacy, read_study, study_text
from deploy.research.synthetic.generate import generate
from tests.support.deployment import COORDINATOR, Deployment, in_own_network
from tests.support.release import program
from tests.support.site_policies import without_privacy

pytestmark = pytest.mark.soak
ROUNDS = 2
STUDIES = ("open", "private")
CHANGES = {"run", "started", "finished", "seconds"}  # from one run of a study to the next
NOISY = {"metrics", "comparisons", "coverage", "warnings"}  # what a private run's noise is in


@dataclass(frozen=True)
class Played:
    """What a federation's two runs left: `folder` of the coordinator, and the log of each site's agent."""

    folder: Path
    logs: Path

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
            return Played(deployment.at, deployment.logs)

    return played


def without(value: Any, names: set[str]) -> Any:
    """A report without these keys, wherever they stand."""
    if isinstance(value, dict):
        return {key: without(item, names) for key, item in value.items() if key not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("who", ["lindenhof", COORDINATOR])
def test_a_study_without_privacy_has_the_weights_and_the_report_that_new_ones_alone_give(play: Play, who: str) -> None:
    mixed, alone = play(who), play("")
    ours, theirs = mixed.weights("open"), alone.weights("open")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert np.array_equal(ours[name], value, equal_nan=value.dtype.kind == "f"), name
    assert without(mixed.report("open"), CHANGES) == without(alone.report("open"), CHANGES)
    assert mixed.report("open")["sites"] == 4 and not any(one["dropped"] for one in mixed.report("open")["rounds"])


@pytest.mark.parametrize("who", ["lindenhof", COORDINATOR])
def test_a_private_study_has_the_report_that_new_ones_alone_give_but_for_the_noise(play: Play, who: str) -> None:
    mixed, alone = play(who).report("private"), play("").report("private")
    assert without(mixed, CHANGES | NOISY) == without(alone, CHANGES | NOISY)
    assert mixed["sites"] == 4 and not any(one["dropped"] for one in mixed["rounds"])
    certified = [one["epsilon"] for one in mixed["rounds"]]
    assert 0 < certified[0] < certified[-1] <= mixed["study"]["privacy"]["epsilon"]
