"""A run that cannot go on leaves a model and a report of the rounds that it had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

from client.data.labels import patients_of
from client.ledger.forecast import left, require_carried
from client.ledger.ledger import Entry, Ledger
from client.site import read_site
from common.errors import BudgetError, CheckpointError, RunError
from common.models.network import build_network
from common.parameters import flatten
from common.privacy.plan import plan_privacy
from common.study import Study
from deploy.cli import commands
from deploy.research.simulation.hospitals import hospitals_in
from deploy.research.simulation.simulate import Simulation, simulate
from server.consortium.consortium import Consortium
from server.report.evidence import RoundEvidence, read_evidence
from server.run.at_work import at_work
from server.run.checkpoint import RunState, read, save
from server.run.finish import finish
from server.run.observer import Unwatched
from server.run.watch import STATUS_FILE, RunStatus, read_status
from tests.support.deployment import environment
from tests.support.enrolment import away
from tests.support.federation import private, small_hospitals


class EndedAfter(Unwatched):
    """Ends the run as an error in the round after would, with everything before saved."""

    def __init__(self, round_: int) -> None:
        self._round = round_

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        if evidence.round == self._round:
            raise RunError("the budget of two sites is used up")


@pytest.fixture(scope="module", params=["private", "none"])
def stopped(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Study, Path]:
    """A run of three rounds that ended after the second."""
    place = tmp_path_factory.mktemp("finish")
    study, folders = small_hospitals(place / "made")
    study = private(study) if request.param == "private" else study
    study = replace(study, evaluation=replace(study.evaluation, every=1))
    with pytest.raises(RunError, match="two sites"):
        simulate(Simulation(study, folders, place / "run", workers=2, compare=False), EndedAfter(2))
    return study, place / "run"


def weights_in(model: Path, study: Study) -> np.ndarray:
    network = build_network(study)
    network.load_state_dict(load_file(model))
    return flatten(network)


def test_a_stopped_run_is_finished_from_its_checkpoint(stopped: tuple[Study, Path]) -> None:
    study, folder = stopped
    done = CliRunner().invoke(commands, ["finish", str(folder)])
    assert done.exit_code == 0, done.output
    assert "ended after round 2 of 3" in done.output
    state, found = read(folder / "checkpoint.npz", study.digest), read_evidence(folder / "report.json")
    chosen = not study.private and state.best_round > 0  # by validation patients; else the last model
    assert np.array_equal(
        weights_in(folder / "model.safetensors", study), state.arrays["best" if chosen else "weights"]
    )
    assert [item.round for item in found.rounds] == [0, 1, 2]
    assert found.selected_round == (state.best_round if chosen else 2)
    assert "ended after round 2 of 3" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_simulations_run_is_finished_by_its_name(
    stopped: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was named for `wardround simulate --run`; what a consortium alone has says what it is."""
    _, folder = stopped
    shutil.copytree(folder, tmp_path / "runs" / "mine")
    (tmp_path / "runs" / "mine" / "model.safetensors").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(commands, ["finish", "mine"])
    assert done.exit_code == 0, done.exception
    assert (tmp_path / "runs" / "mine" / "model.safetensors").exists()
    for command in ("resume", "status", "stop"):
        said = str(CliRunner().invoke(commands, [command, "mine"]).exception)
        assert "runs/mine is a simulation's" in said and "wardround finish mine" in said and "--resume" in said
    said = str(CliRunner().invoke(commands, ["finish", "mime"]).exception)
    assert said == "There is no run 'mime'. Did you mean mine? There is runs/mine."
    monkeypatch.chdir(tmp_path.parent)
    said = str(CliRunner().invoke(commands, ["finish", "mine"]).exception)
    assert said == "There is no run 'mine'. There is no run in runs/; give the run's own folder."


def test_the_report_says_why_it_ended(stopped: tuple[Study, Path]) -> None:
    """The coordinator's process leaves the reason of a deployed run beside its checkpoint."""
    study, folder = stopped
    run = read(folder / "checkpoint.npz", study.digest).run
    status = RunStatus(run, study.digest, os.getpid(), ended="Round 3 of 3: site north is out of budget.")
    status.write(folder / STATUS_FILE)
    try:
        evidence = finish(folder)
    finally:
        (folder / STATUS_FILE).unlink()
    assert "site north is out of budget" in evidence.warnings[-1]
    assert not evidence.simulated


def after(state: RunState, number: int) -> RunState:
    """As if this round were the last one that was saved."""
    rows = [state.history[min(place, len(state.history) - 1)] | {"round": place} for place in range(number + 1)]
    return replace(state, round=number, history=rows)


def test_what_has_no_model_or_came_to_its_end_is_not_finished(stopped: tuple[Study, Path], tmp_path: Path) -> None:
    study, folder = stopped
    with pytest.raises(RunError, match="no checkpoint"):
        finish(tmp_path)
    state = read(folder / "checkpoint.npz", study.digest)
    (tmp_path / "study.yaml").write_bytes((folder / "study.yaml").read_bytes())
    for number, words in ((0, "no round was trained"), (study.rounds + 2, "came to its end")):
        save(after(state, number), tmp_path / "checkpoint.npz")
        with pytest.raises(RunError, match=words):
            finish(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert json.loads((folder / "report.json").read_text())


def test_the_latest_model_is_kept_where_none_was_ever_scored(stopped: tuple[Study, Path], tmp_path: Path) -> None:
    """A model is scored in the round after it: the one before was kept, of which as little was known."""
    study, folder = stopped
    shutil.copytree(folder, tmp_path / "run")
    state = read(folder / "checkpoint.npz", study.digest)
    save(replace(state, best_round=1, best_score=float("-inf")), tmp_path / "run" / "checkpoint.npz")
    assert finish(tmp_path / "run").selected_round == 2
    model = weights_in(tmp_path / "run" / "model.safetensors", study)
    assert np.array_equal(model, state.arrays["weights"]) and not np.array_equal(model, state.arrays["best"])


def test_a_run_that_is_over_is_reported_on_again_without_its_sites(stopped: tuple[Study, Path], tmp_path: Path) -> None:
    """No server is there, and no site: it waited for them for ten minutes, and kept them from other runs meanwhile."""
    study, folder = stopped
    consortium = away(tmp_path / "consortium", "east", "north", "west")
    run = consortium / "runs" / "over"
    run.mkdir(parents=True)
    shutil.copyfile(folder / "study.yaml", run / "study.yaml")
    state = read(folder / "checkpoint.npz", study.digest)
    save(after(state, study.rounds + 2), run / "checkpoint.npz")
    with at_work(Consortium.read(consortium).state, ["east", "north", "west"], "another"):
        done = CliRunner().invoke(commands, ["resume", "over", "--at", str(consortium)])
    assert done.exit_code == 0, done.exception
    assert read_evidence(run / "report.json").run == state.run and (run / "report.html").exists()
    assert np.array_equal(weights_in(run / "model.safetensors", study), state.arrays["best"])
    assert read_status(run / STATUS_FILE).ended == "completed"


@pytest.mark.parametrize("stopped", ["none"], indirect=True)
def test_a_run_goes_on_over_the_hospitals_that_it_began_with_alone(stopped: tuple[Study, Path], tmp_path: Path) -> None:
    """Others of the same names: it went on in silence, and report and ledgers were of both as one."""
    study, folder = stopped
    _, others = small_hospitals(tmp_path / "made", seed=1)
    mine = hospitals_in(folder.parent / "made")
    shutil.copytree(folder, tmp_path / "run")
    plan = Simulation(study, others, tmp_path / "run", workers=2, compare=False, resume=True)
    before = (tmp_path / "run" / "checkpoint.npz").read_bytes()
    with pytest.raises(RunError, match="another hospital of that name"):
        simulate(plan)
    for place in mine[1:]:
        shutil.copytree(place, tmp_path / "replaced" / place.name)
    renamed = tmp_path / "replaced" / mine[1].name / "site.yaml"
    renamed.write_text(renamed.read_text().replace(f"site: {mine[1].name}", "site: new"))
    with pytest.raises(RunError, match=r"began with other hospitals: .*not there any more; new not there then"):
        simulate(replace(plan, hospitals=hospitals_in(tmp_path / "replaced")))
    assert (tmp_path / "run" / "checkpoint.npz").read_bytes() == before
    moved = hospitals_in(shutil.copytree(folder.parent / "made", tmp_path / "moved"))
    shutil.rmtree(moved[0] / "state")
    gone = opted_out(moved[1], study)
    outcome, evidence = simulate(replace(plan, hospitals=moved))  # the same, wherever they lie
    assert len(outcome.history) == study.rounds + 1
    assert f"{gone}: 1 more opted out since this run began. They are in no round from here on." in evidence.warnings


def opted_out(folder: Path, study: Study) -> str:
    """One patient of this hospital opts out: its name."""
    here = read_site(folder)
    patient = min(patients_of(here, study))
    (folder / "list.csv").write_text(f"{here.file.patient}\n{patient}\n")
    (folder / "site.yaml").write_text((folder / "site.yaml").read_text() + "exclusions: list.csv\n")
    return here.file.site


class Asked(EndedAfter):
    """Asks other processes for the run while it is played."""

    def __init__(self, folder: Path, hospitals: Path) -> None:
        super().__init__(3)
        self.folder, self.hospitals, self.said = folder, hospitals, dict[str, subprocess.CompletedProcess[str]]()

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        self.said = {name: by_another_process(self.folder, self.hospitals, name) for name in ("finish", "simulate")}
        super().round_done(evidence, rounds)


def by_another_process(folder: Path, hospitals: Path, command: str) -> subprocess.CompletedProcess[str]:
    more = ["--hospitals", str(hospitals), "--resume", "--no-compare", "--run", folder.name]
    arguments = [folder.name] if command == "finish" else [str(folder / "study.yaml"), *more]
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", command, *arguments],
        cwd=folder.parent.parent, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("stopped", ["none"], indirect=True)
def test_a_simulation_at_work_is_neither_finished_nor_resumed_by_another_process(stopped, tmp_path) -> None:
    """A model was written into it, and two that went on shared a draft. When it has ended, it is finished."""
    study, folder = stopped
    run = tmp_path / "runs" / "mine"
    shutil.copytree(folder, run)
    (run / "model.safetensors").unlink(missing_ok=True)
    made = folder.parent / "made"
    asked = Asked(run, made)
    plan = Simulation(study, hospitals_in(made), run, workers=2, compare=False, resume=True)
    with pytest.raises(RunError, match="two sites"):
        simulate(plan, asked)
    for name, done in asked.said.items():
        assert done.returncode, name
        assert f"process {os.getpid()} plays this run" in done.stderr + done.stdout, (name, done.stderr)
    assert not (run / "model.safetensors").exists()
    assert not by_another_process(run, made, "finish").returncode
    assert (run / "model.safetensors").exists()


def test_a_name_that_is_no_run_is_not_resumed_and_no_folder_is_made(stopped, tmp_path) -> None:
    study, folder = stopped
    plan = Simulation(study, hospitals_in(folder.parent / "made"), tmp_path / "typo", compare=False, resume=True)
    with pytest.raises(CheckpointError, match="no run to go on with"):
        simulate(plan)
    assert not (tmp_path / "typo").exists()


def test_a_run_that_the_budget_does_not_carry_to_its_end_is_not_begun(tmp_path: Path) -> None:
    """It died in a late round, and left no model: what it had spent was spent for nothing."""
    study, folders = small_hospitals(tmp_path / "made")
    study = private(study)
    plan = plan_privacy(study)
    assert plan is not None
    folder, poor = tmp_path / "run", read_site(folders[0]).file.site
    ledger = Ledger(folder / "sites" / poor / "ledger.jsonl")
    earlier = Entry(study.digest, "earlier", 1, 1, "training", (plan.statistics(), plan.training(study.rounds)))
    assert ledger.spend(earlier, plan.epsilon, plan.delta, plan.accountant)
    with pytest.raises(
        BudgetError, match=f"Not begun: the privacy budget of {poor} does not carry this run to its end"
    ):
        simulate(Simulation(study, folders, folder, workers=2, compare=False))
    assert ledger.entries() == [earlier]
    rich = read_site(folders[1]).file.site
    assert not (folder / "sites" / rich / "ledger.jsonl").exists()
    assert not (folder / "checkpoint.npz").exists()
    (folder / "sites" / poor / "ledger.jsonl").unlink()
    brief = replace(study, study="brief", rounds=1)
    outcome, _ = simulate(Simulation(brief, folders, folder, workers=2, compare=False))
    assert outcome.sites == len(folders)  # the name of what was not begun is free, for another study too


@pytest.mark.parametrize("stopped", ["private"], indirect=True)
def test_what_is_left_of_a_run_is_what_it_has_not_charged(stopped: tuple[Study, Path]) -> None:
    """Asked before the third round, a site counts what the rounds before charged, and the rest, as the whole run."""
    study, folder = stopped
    plan = plan_privacy(study)
    assert plan is not None
    [ledger, *_] = sorted((folder / "sites").glob("*/ledger.jsonl"))

    def steps(entries: Iterable[Entry]) -> Counter[tuple[str, str]]:
        return Counter(
            (entry.cohort, release.kind)
            for entry in entries
            for release in entry.releases
            for _ in range(release.steps)
        )

    assert steps(Ledger(ledger).entries()) + steps(left(study, plan, 3)) == steps(left(study, plan))
    require_carried(ledger.parent, study, plan, 3)
    with pytest.raises(BudgetError):
        require_carried(ledger.parent, study, plan, 1)
