"""What a finished run says of itself: what it may have cost beyond its sums, why it ended, and who had what."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from client.data.prepare import prepare
from client.ledger.accounts import LEDGER_FILE, judged_at, ledger_of
from client.site import read_site
from common.disk.audit import AUDIT_FILE
from common.errors import BudgetError, RunError
from common.privacy.plan import plan_privacy
from common.study import Study
from deploy.cli import commands
from deploy.research.simulation.faults import Loss
from deploy.research.simulation.simulate import Simulation, simulate
from server.flower.control import Nodes
from server.report.evidence import RoundEvidence
from server.report.page import render
from server.run.checkpoint import read
from server.run.deployed import _saying_so, ended_runs
from server.run.finish import END_FILE, finish, leaving_its_reason, reason_of
from server.run.observer import Unwatched
from server.run.site_rows import ROWS_FILE
from server.run.watch import STATUS_FILE, STOPPED, RunStatus, SiteStatus, Watch, read_status, stored_status
from tests.support.enrolment import away
from tests.support.federation import private, small_hospitals
from tests.support.reading import read_page


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...], Path]:
    """A private run whose third round was worked for and charged three times, and opened in none of them."""
    place = tmp_path_factory.mktemp("says")
    study, folders = small_hospitals(place / "made")
    study = private(study)
    lost = tuple(Loss(folder.name, number, "confirm") for folder in folders[:2] for number in range(4, 8))
    with pytest.raises(RunError, match="Round 3 of 3"):
        simulate(Simulation(study, folders, place / "run", workers=2, losses=lost, compare=False))
    return study, folders, place / "run"


def spent_at(study: Study, hospital: Path, run: Path) -> float:
    """The largest epsilon of any patient by this site's own ledger of the run."""
    site, plan = read_site(hospital), plan_privacy(study)
    assert plan is not None
    state = run / "sites" / site.file.site
    assert (state / LEDGER_FILE).exists() and (state / AUDIT_FILE).exists()
    return ledger_of(state).spent(judged_at(site.file.policy, plan), None, plan.accountant, study.digest)


def test_a_finished_report_is_not_below_the_ledgers_without_a_word(failed) -> None:
    """The charges of the round that was stopped are in no sum: the report gave the smaller epsilon as spent."""
    study, folders, folder = failed
    found = finish(folder)
    worst = max(spent_at(study, hospital, folder) for hospital in folders)
    summed = max(entry.epsilon or 0.0 for entry in found.rounds)
    assert summed < worst, "the ledgers have more than the sums: else this shows nothing"
    assert found.open_epsilon is not None and worst <= found.open_epsilon * (1 + 1e-6)
    assert found.open_epsilon <= study.privacy.epsilon
    words = re.sub(r"\s+", " ", read_page(render(found)).text)
    assert re.search(f", in these sums; charged: (about|up to) {found.open_epsilon:.2f}", words)
    assert "in the sums of this run" in words
    assert "begun and not saved may be charged at the sites as well" in found.warnings[-2]


def test_what_ended_a_simulation_is_kept_for_its_report(failed) -> None:
    """It said that it was stopped."""
    _, _, folder = failed
    said = finish(folder).warnings[-1]
    assert "Round 3 of 3: failed 3 times" in said and "it was stopped" not in said
    assert "--resume" not in said and "wardround resume" not in said


class EndedBy(Unwatched):
    """Ends a run after round 1 with this error, and keeps its folder as a kill would have left it just then."""

    def __init__(self, error: BaseException, run: Path, kept: Path) -> None:
        self.error, self.run, self.kept = error, run, kept

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        if evidence.round:
            shutil.copytree(self.run, self.kept)
            raise self.error


class FullDisk(EndedBy):
    """And nothing can be written for the reason."""

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        (self.run / END_FILE).unlink()
        (self.run / END_FILE).mkdir()
        super().round_done(evidence, rounds)


def test_a_simulation_that_the_machine_ended_or_a_kill_says_so_in_its_report(tmp_path) -> None:
    """Both "was stopped". Where the reason could not be written, that stood at the terminal for the reason."""
    study, folders = small_hospitals(tmp_path / "made")
    run, killed = tmp_path / "run", tmp_path / "killed"
    plan = Simulation(study, folders, run, workers=2, compare=False)
    for error, said in ((MemoryError("of the machine"), "MemoryError"), (KeyboardInterrupt(), "it was stopped")):
        shutil.rmtree(killed, ignore_errors=True)
        with pytest.raises(type(error)):
            simulate(replace(plan, resume=run.exists()), EndedBy(error, run, killed))
        assert finish(run).warnings[-1].endswith(f"before its end was reached: {said}.")
    assert finish(killed).warnings[-1].endswith("before its end was reached: its process was killed.")
    with pytest.raises(MemoryError, match="of the machine"):
        simulate(replace(plan, resume=True), FullDisk(MemoryError("of the machine"), run, tmp_path / "full"))
    assert "it left no reason" in finish(tmp_path / "full").warnings[-1]


class StoppedAtOnce(Unwatched):
    """Ends a run before it comes to a sum."""

    def doing(self, what: str) -> None:
        raise KeyboardInterrupt


def test_a_resume_of_a_simulation_that_comes_to_no_sum_is_not_why_it_ended(tmp_path) -> None:
    """\"It was stopped" stood for the budget of two sites. After another sum it is why."""
    study, folders = small_hospitals(tmp_path / "made")
    run = tmp_path / "run"
    plan = Simulation(study, folders, run, workers=2, compare=False)
    with pytest.raises(BudgetError):
        simulate(plan, EndedBy(BudgetError("the budget of two sites is used up"), run, tmp_path / "once"))
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            simulate(replace(plan, resume=True), StoppedAtOnce())
        assert finish(run).warnings[-1].endswith("the budget of two sites is used up.")
    with pytest.raises(KeyboardInterrupt):
        simulate(replace(plan, resume=True), EndedBy(KeyboardInterrupt(), run, tmp_path / "twice"))
    assert finish(run).warnings[-1].endswith("before its end was reached: it was stopped.")


def test_a_simulation_that_the_budget_ended_says_so_in_its_report(failed) -> None:
    """The three attempts used what was spare: it cannot go on, and nobody stopped it."""
    study, folders, folder = failed
    with pytest.raises(BudgetError):
        simulate(Simulation(study, folders, folder, workers=2, compare=False, resume=True))
    said = finish(folder).warnings[-1]
    assert "ended after round 2 of 3" in said and "the privacy budget of" in said and "does not carry" in said
    assert "finish" not in said and "it was stopped" not in said


def test_a_simulations_finished_report_keeps_the_row_of_each_site(failed, tmp_path) -> None:
    """They were gone with the process that played it. A file that a kill cut off costs the rows, not the report."""
    study, folders, folder = failed
    found = {row.site: row for row in finish(folder).coverage}
    assert found.keys() == {None, *(hospital.name for hospital in folders)}
    for hospital in folders:
        cohort = prepare(read_site(hospital), study)
        assert found[hospital.name].cases == {
            "train": len(cohort.train),
            "validation": len(cohort.validation),
            "test": len(cohort.test),
        }
    copied = shutil.copytree(folder, tmp_path / "run")
    (copied / ROWS_FILE).write_text((folder / ROWS_FILE).read_text()[:99])
    assert [row.site for row in finish(copied).coverage] == [None]


def consortium_with(folder: Path, place: Path) -> Path:
    """A consortium of three sites, none of which is connected, whose run `v` has this one's study and checkpoint."""
    consortium = away(place / "consortium", "east", "north", "west")
    run = consortium / "runs" / "v"
    run.mkdir(parents=True)
    for name in ("study.yaml", "checkpoint.npz"):
        (run / name).write_bytes((folder / name).read_bytes())
    return consortium


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        ("", "its process was killed"),
        ("it was stopped; continue it with `wardround resume`", "it was stopped"),
        (
            "Round 3 of 3: too few. The run is saved up to the round before. Do it again: `wardround resume v`",
            "too few",
        ),
    ],
)
def test_a_finished_run_says_in_status_and_report_why_and_not_to_continue(failed, tmp_path, ended, why) -> None:
    study, _, folder = failed
    consortium = consortium_with(folder, tmp_path)
    run = consortium / "runs" / "v"
    state = read(run / "checkpoint.npz", study.digest)
    RunStatus(state.run, study.digest, os.getpid(), "round 3", 2, 3, ended=ended).write(run / STATUS_FILE)
    for _ in range(2):  # as often as one likes
        done = CliRunner().invoke(commands, ["finish", "v", "--at", str(consortium)])
        assert done.exit_code == 0, done.exception
        assert done.output.splitlines()[0].endswith(
            f"before its end was reached: {read_status(run / STATUS_FILE).ended}."
        )
        told = CliRunner().invoke(commands, ["status", "v", "--at", str(consortium)]).output
        head = told.splitlines()[0]
        assert head.startswith("v: finished after round 2 of 3, with a model and a report") and head.endswith(why)
        assert "resume" not in told + done.output


def test_a_resume_that_comes_to_no_sum_forgets_neither_what_was_done_nor_why_it_ended(
    failed, tmp_path, monkeypatch
) -> None:
    """Of a run of two rounds the status said "nothing done yet", and its report that too few sites were connected."""
    study, _, folder = failed
    consortium = consortium_with(folder, tmp_path)
    run = consortium / "runs" / "v"
    state = read(run / "checkpoint.npz", study.digest)
    ended = "Round 3 of 3: failed 3 times."
    left = RunStatus(state.run, study.digest, os.getpid(), "round 3", 2, 3, looked=time.time() - 7200, ended=ended)
    left.sites = {name: SiteStatus("training", seen=3.0) for name in ("east", "north", "west")}
    left.write(run / STATUS_FILE)
    monkeypatch.setattr(Nodes, "listed", lambda self: [])  # its server is up, and no site is connected
    for _ in range(2):
        done = CliRunner().invoke(commands, ["resume", "v", "--at", str(consortium), "--wait", "0.1"])
        assert "0 of 3 sites are connected" in str(done.exception)
    told = CliRunner().invoke(commands, ["status", "v", "--at", str(consortium)]).output
    assert told.startswith(f"v: {ended} It was resumed since, without another sum: 0 of 3 sites")
    assert "done: round 2 of 3" in told and told.count("last sign of life 2 h 0 min ago") == 3
    assert ended_runs(consortium / "runs" / "another") == (state.run,)
    status, kept = read_status(run / STATUS_FILE), list[int]()
    status.finished = 2
    begun = _saying_so(Watch(status, tmp_path / STATUS_FILE), lambda number, survivors: kept.append(number))
    assert (status.reason, status.finished) == (ended, 2)
    begun(7, ())  # a sum is announced: from here on it has ended for no earlier reason
    assert (status.before, status.finished, kept) == ("", -1, [7])
    assert stored_status(tmp_path / STATUS_FILE).asked
    done = CliRunner().invoke(commands, ["finish", "v", "--at", str(consortium)])
    assert f"before its end was reached: {ended}" in done.output
    told = CliRunner().invoke(commands, ["status", "v", "--at", str(consortium)]).output
    assert told.startswith("v: finished after round 2 of 3, with a model and a report") and "resumed" not in told


def test_a_second_stop_while_the_first_one_ends_the_run_is_named_as_a_stop(tmp_path: Path) -> None:
    """It closes what was to keep the reason, which said "GeneratorExit"."""
    kept = leaving_its_reason(tmp_path)
    kept.__enter__()
    kept.gen.close()
    assert reason_of(tmp_path) == STOPPED
