"""`wardround finish` and `status` on the folder of a stopped run, of release 0.1, as time and accidents leave it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.errors import RunError
from common.study import read_study
from deploy.cli import commands
from server.report.evidence import read_evidence
from server.report.page import render
from server.run.checkpoint import read, save
from server.run.finish import END_FILE, SITES, finish, reason_of
from server.run.run_folder import open_run
from server.run.site_rows import ROWS_FILE
from server.run.watch import STATUS_FILE, RunStatus, resumed_status
from tests.support.reading import read_page

KEPT = Path(__file__).parents[1] / "fixtures" / "release-0.1" / "consortium"


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    return shutil.copytree(KEPT, tmp_path / "consortium")


@pytest.fixture
def simulation(consortium: Path) -> Path:
    """The same run as a simulation's folder has it: no status, and its sites within."""
    run = consortium / "runs" / "stopped"
    (run / STATUS_FILE).unlink()
    (run / SITES / "north").mkdir(parents=True)
    return run


def said(consortium: Path, command: str) -> str:
    done = CliRunner().invoke(commands, [command, "stopped", "--at", str(consortium)])
    assert done.exit_code == 0, done.exception
    return done.output


def ages(told: str) -> list[str]:
    """The age of the status and of each site's last sign of life, without what passes meanwhile."""
    return re.findall(r"as of (.* h|.* d\S*).* ago$|last sign of life (.* h|.* d\S*).* ago$", told, re.M)


def test_a_finished_run_keeps_the_age_of_its_sites_last_sign_of_life(consortium: Path) -> None:
    """They were of now: nine seconds for a site that was last heard of in another month."""
    path = consortium / "runs" / "stopped" / STATUS_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"written": content["written"] - 40 * 3600}))  # however old the fixture is
    before = said(consortium, "status")
    said(consortium, "finish")
    after = said(consortium, "status")
    assert len(ages(before)) == 4 and ages(after) == ages(before)
    assert "finished after round 1 of 4" in after and "finished" not in before


def test_the_ages_of_sites_are_those_of_the_last_look_and_not_of_the_last_write(consortium: Path) -> None:
    """A run that goes on while its server is away wrote, every round, that the sites had just been heard of."""
    path = consortium / "runs" / "stopped" / STATUS_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"looked": content["written"] - 40 * 3600}))
    first, *sites = said(consortium, "status").splitlines()[1:]
    assert "; the sites as of" in first and len(sites) == 3
    with_look = ages("\n".join(sites))
    path.write_text(json.dumps(content))
    without = said(consortium, "status")
    assert "; the sites as of" not in without and ages(without)[1:] != with_look


@pytest.mark.parametrize("lost", ["empty", "gone"])
def test_a_deployed_run_that_has_lost_its_status_is_finished_as_one(consortium: Path, lost: str) -> None:
    """Without its status its report was a simulation's, which shows every count; with an empty one there was none."""
    run = consortium / "runs" / "stopped"
    (run / STATUS_FILE).write_text("") if lost == "empty" else (run / STATUS_FILE).unlink()
    assert "ended after round 1 of 4" in said(consortium, "finish")
    assert read_evidence(run / "report.json").simulated is False
    assert "deployed: sums only" in read_page((run / "report.html").read_text()).text


def test_a_simulations_folder_is_finished_as_one(simulation: Path) -> None:
    assert finish(simulation).simulated


def test_what_could_be_done_and_what_contradicts_the_charges_is_no_reason(consortium: Path) -> None:
    run = consortium / "runs" / "stopped"
    ended = finish(run).warnings[-1]
    assert ended.endswith("before its end was reached: made by 0.1 and not ended.")
    content = json.loads((run / STATUS_FILE).read_text())
    refused = "Not begun: the privacy budget of north does not carry this run from round 2 to its end, and nothing was"
    (run / STATUS_FILE).write_text(json.dumps(content | {"ended": f"{refused} charged. Leave it out."}))
    ended = finish(run).warnings[-1]
    assert "the privacy budget of north does not carry this run from round 2 to its end." in ended
    assert "Not begun" not in ended and "nothing was charged" not in ended


def test_rows_of_a_newer_release_are_refused_before_anything_is_written(simulation: Path) -> None:
    """The model was written, and then there was no report."""
    (simulation / ROWS_FILE).write_text(json.dumps({"format": 99, "rows": []}))
    with pytest.raises(RunError, match="newer release"):
        finish(simulation)
    assert not (simulation / "model.safetensors").exists()
    (simulation / ROWS_FILE).unlink()
    finish(simulation)
    assert (simulation / "model.safetensors").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "x", "why": "a"}', '{"format": true, "why": "a"}', '{"why": 1}']
)
def test_a_damaged_reason_is_none(simulation: Path, text: str) -> None:
    (simulation / END_FILE).write_text(text)
    assert reason_of(simulation) == "it left no reason"
    (simulation / END_FILE).write_text('{"format": 99, "why": "a"}')
    with pytest.raises(RunError, match="newer release"):
        reason_of(simulation)


def test_a_reason_steers_no_terminal(simulation: Path) -> None:
    (simulation / END_FILE).write_text(json.dumps({"format": 1, "why": "a \x1b[31mred\u202e one"}))
    evidence = finish(simulation)
    assert evidence.warnings[-1].endswith(": a  [31mred  one.")
    assert "\x1b" not in render(evidence)


def refused(consortium: Path, command: str) -> str:
    done = CliRunner().invoke(commands, [command, "stopped", "--at", str(consortium)])
    assert isinstance(done.exception, RunError)
    return str(done.exception)


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_whose_checkpoint_is_gone_is_not_called_one_that_was_never_begun(consortium: Path, finished) -> None:
    """It was said that its folder, with model and report, may be deleted, and another run might have taken its name."""
    run = consortium / "runs" / "stopped"
    if finished:
        said(consortium, "finish")
    (run / "checkpoint.npz").unlink()
    told = said(consortium, "status")
    assert "nothing was begun" not in told and "Its checkpoint is gone" in told and "round 1 of 4" in told
    assert ("stay as they are" if finished else "what its sums had come to") in refused(consortium, "finish")
    study = read_study(run / "study.yaml")
    if not finished:
        return
    with pytest.raises(RunError, match="a run whose checkpoint is gone"):
        open_run(run, study, resume=False)
    for name in ("model.safetensors", "report.json", "report.html"):
        with pytest.raises(RunError, match="a run whose checkpoint is gone"):
            open_run(run, study, resume=False)
        (run / name).unlink()
    open_run(run, study, resume=False)


def test_the_reason_in_the_status_of_another_run_is_not_this_ones(consortium: Path) -> None:
    """Copied, or put back, beside this run's checkpoint."""
    run = consortium / "runs" / "stopped"
    content = json.loads((run / STATUS_FILE).read_text()) | {"ended": "the budget of another is used up."}
    (run / STATUS_FILE).write_text(json.dumps(content))
    assert "budget of another" in reason_of(run, read(run / "checkpoint.npz", content["study"]))
    (run / STATUS_FILE).write_text(json.dumps(content | {"run": "f" * 16}))
    before = (run / STATUS_FILE).read_bytes()
    assert "budget of another" not in finish(run).warnings[-1]
    assert (run / STATUS_FILE).read_bytes() == before


@pytest.mark.parametrize("wrong", [{"ended": 5}, {"written": None}, {"round": None}, {"sites": [1]}, {"chosen": None}])
def test_a_status_of_wrong_values_is_damaged(consortium: Path, wrong) -> None:
    """They ended the command as a fault of the program."""
    path = consortium / "runs" / "stopped" / STATUS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    assert "there is no status of a run that can be read" in refused(consortium, "status")
    said(consortium, "finish")


def test_a_run_is_finished_after_no_more_rounds_than_it_has(consortium: Path) -> None:
    """One that ended in its last score has saved a step more."""
    run = consortium / "runs" / "stopped"
    study = read_study(run / "study.yaml")
    state = read(run / "checkpoint.npz", study.digest)
    last = dict(state.history[-1])
    state.history += [last | {"round": number} for number in range(state.round + 1, study.rounds + 2)]
    state.round = study.rounds + 1
    save(state, run / "checkpoint.npz")
    assert f"after round {study.rounds} of {study.rounds}," in finish(run).warnings[-1]


def command(consortium: Path, *words: str) -> str:
    """What a command that is refused says; no site is connected, should it come so far."""
    done = CliRunner().invoke(commands, [*words, "--at", str(consortium)])
    assert isinstance(done.exception, RunError), done.exception
    return str(done.exception)


def test_another_run_does_not_take_the_name_of_one_whose_checkpoint_is_gone(consortium: Path) -> None:
    run = consortium / "runs" / "stopped"
    (run / "checkpoint.npz").unlink()
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    told = command(consortium, "run", str(run / "study.yaml"), "--run", "stopped")
    assert "is of a run whose checkpoint is gone" in told
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name in before} == before


def test_a_status_of_a_newer_release_is_refused_by_a_resume_too(consortium: Path) -> None:
    """It was taken for none, and written over."""
    path = consortium / "runs" / "stopped" / STATUS_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    before = path.read_bytes()
    assert "newer release" in command(consortium, "resume", "stopped", "--wait", "0.1")
    assert path.read_bytes() == before


def test_a_status_too_deep_to_be_read_is_damaged(consortium: Path) -> None:
    (consortium / "runs" / "stopped" / STATUS_FILE).write_text("[" * 100_000)
    assert "there is no status of a run that can be read" in refused(consortium, "status")


def test_the_status_of_another_study_says_nothing_of_a_run_that_goes_on() -> None:
    status = RunStatus("", "study", 1)
    other = RunStatus("other", "another", 1, round=5, ended="the budget of another", finished=4)
    assert resumed_status(status, other) == status == resumed_status(status, None) and status.run == ""
