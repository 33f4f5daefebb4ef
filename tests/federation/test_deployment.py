"""A study over four hospitals as separate processes: TLS, node keys, the secure sum, agents without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from common.errors import BudgetError
from common.study import Privacy, read_study, study_text
from deploy.cli import commands
from deploy.research.simulation.hospitals import hospitals_in
from deploy.research.simulation.simulate import Simulation, simulate
from deploy.research.synthetic.generate import generate
from server.run.watch import STATUS_FILE, read_status
from tests.support.deployment import Deployment, in_own_network
from tests.support.site_policies import without_privacy

ROUNDS = 2


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's hospitals, fewer patients; with two studies that differ in privacy alone."""
    folder = tmp_path_factory.mktemp("h") / "hospitals"
    generate(folder, sites=4, seed=0, scale=0.2)
    without_privacy(folder)
    study = replace(read_study(folder / "study.yaml"), rounds=ROUNDS)
    (folder / "private.yaml").write_text(study_text(study), encoding="utf-8")
    (folder / "open.yaml").write_text(
        study_text(replace(study, study="no_privacy", privacy=Privacy())), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def deployed(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("d"), hospitals, agents=in_own_network, warm=True) as deployment:
        yield deployment


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files if name != "head"}


def test_a_run_without_privacy_gives_the_simulations_very_weights(
    deployed: Deployment, hospitals: Path, tmp_path: Path
) -> None:
    study = deployed.approve(hospitals / "open.yaml")
    run = deployed.run(hospitals / "open.yaml", "open")
    assert run.wait(240) == 0, run.text
    plan = Simulation(study, hospitals_in(hospitals), tmp_path / "simulated", compare=False)
    simulate(plan)
    theirs, ours = arrays(tmp_path / "simulated" / "checkpoint.npz"), arrays(deployed.checkpoint("open"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert np.array_equal(ours[name], value, equal_nan=value.dtype.kind == "f"), name
    report = json.loads((deployed.at / "runs" / "open" / "report.json").read_text())
    assert report["sites"] == 4 and report["threshold"] == 3
    assert not report["simulated"]
    (tested,) = report["comparisons"]
    assert tested["kind"] == "federated" and tested["metrics"]["cases"] > 0 and tested["interval"] is None


def test_a_private_run_pays_at_every_site_and_ends_with_a_report(deployed: Deployment, hospitals: Path) -> None:
    study = deployed.approve(hospitals / "private.yaml")
    assert study.private and study.secure_sum.enabled
    run = deployed.run(hospitals / "private.yaml", "private")
    assert run.wait(240) == 0, run.text
    report = json.loads((deployed.at / "runs" / "private" / "report.json").read_text())
    certified = [entry["epsilon"] for entry in report["rounds"]]
    (tested,) = report["comparisons"]  # what the run printed as "test" is in the report
    assert tested["kind"] == "federated" and tested["metrics"]["auc_noise"] != 0
    assert 0 < certified[0] < certified[-1] <= study.privacy.epsilon
    for site in deployed.sites.values():
        assert (site.state / "ledger.jsonl").stat().st_size > 0
    assert (deployed.at / "runs" / "private" / "model.safetensors").exists()
    assert read_status(deployed.at / "runs" / "private" / STATUS_FILE).asked
    assert f"round   1/{ROUNDS}" in run.text and "AUC" in run.text and "epsilon" in run.text
    for site in deployed.sites.values():
        assert f"round 1 of {ROUNDS}: train and score validation patients: done in" in site.agent.text


def test_a_second_run_that_the_budgets_do_not_carry_is_not_begun(deployed: Deployment, hospitals: Path) -> None:
    """After the run before: no site is busy any more, and each says before round 0 that it cannot pay for another."""
    ledgers = {
        site.state / "ledger.jsonl": (site.state / "ledger.jsonl").read_bytes() for site in deployed.sites.values()
    }
    run = deployed.run(hospitals / "private.yaml", "again")
    assert run.wait(120) == BudgetError.exit_code, run.text
    assert "Not begun" in run.text and all(name in run.text for name in deployed.sites)
    assert {path: path.read_bytes() for path in ledgers} == ledgers
    assert not deployed.checkpoint("again").exists()
    assert not read_status(deployed.at / "runs" / "again" / STATUS_FILE).asked
    assert "These are all sites of the run" in run.text and "--site" not in run.text
    at = ["status", "again", "--at", str(deployed.at)]
    assert "nothing was begun: its name may be given to another run" in CliRunner().invoke(commands, at).output
