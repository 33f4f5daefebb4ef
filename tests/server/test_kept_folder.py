"""What a run's folder holds of a newer release, another run or a run that was begun is written over by nobody."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open

from common.errors import CheckpointError
from common.study import read_study
from deploy.cli import commands
from server.flower.control import Nodes
from server.report.evidence import read_evidence
from server.report.page import write
from server.run import deployed
from server.run.checkpoint import read, save
from server.run.deployed import _saying_so
from server.run.lost_sites import LostSiteError
from server.run.watch import STATUS_FILE, RunStatus, Watch, read_status, stored_status
from tests.server.test_finished_folder import command, consortium, refused, said
from tests.server.test_run_folder import ROOT, another, environment

__all__ = ["consortium"]


@pytest.fixture
def run(consortium: Path) -> Path:
    """A stopped run as this release leaves it: one that it may resume."""
    folder = consortium / "runs" / "stopped"
    save(read(folder / "checkpoint.npz", read_study(folder / "study.yaml").digest), folder / "checkpoint.npz")
    changed(folder / STATUS_FILE, format=1, ended="Round 2 of 4: failed 3 times.")
    return folder


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server knows of no site."""
    monkeypatch.setattr(Nodes, "listed", lambda self: [])


def changed(path: Path, **values: object) -> bytes:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return path.read_bytes()


def ended(run: Path) -> None:
    """As after the last sum."""
    state = read(run / "checkpoint.npz", read_study(run / "study.yaml").digest)
    last, end = dict(state.history[-1]), state.round + 5
    state.history += [last | {"round": number} for number in range(state.round + 1, end + 1)]
    state.round = end
    save(state, run / "checkpoint.npz")


@pytest.mark.parametrize("words", [("finish",), ("resume",)])
def test_a_report_of_a_newer_release_is_not_written_over(consortium: Path, run: Path, words) -> None:
    """It was, without a word, and the model beside it."""
    said(consortium, "finish")
    if words == ("resume",):
        ended(run)
    report, model = run / "report.json", run / "model.safetensors"
    kept = changed(report, format=99, precious=1)
    model.write_bytes(b"of a newer release")
    assert "newer release" in command(consortium, *words, "stopped")
    assert report.read_bytes() == kept and model.read_bytes() == b"of a newer release"
    for torn in ("{torn", "[" * 100_000, '{"format": ' + "9" * 5000 + "}"):
        report.write_text(torn)
        said(consortium, *words)
    assert read_evidence(report).format == 1 and model.read_bytes() != b"of a newer release"


def test_a_status_of_a_newer_release_is_not_written_over_when_a_run_is_over(consortium: Path, run: Path) -> None:
    ended(run)
    kept = changed(run / STATUS_FILE, format=99)
    assert "newer release" in command(consortium, "resume", "stopped")
    assert (run / STATUS_FILE).read_bytes() == kept and not (run / "report.json").exists()
    changed(run / STATUS_FILE, format=1)
    said(consortium, "resume")
    assert read_status(run / STATUS_FILE).ended == "completed"


@pytest.mark.usefixtures("nobody")
def test_a_resume_takes_nothing_from_the_status_of_another_run_of_the_study(consortium: Path, run: Path) -> None:
    """It said "finished after round 3", with a model and a report, of which there were none, and gave its reason."""
    others = {"run": "f" * 16, "ended": "the budget of another is used up.", "finished": 3, "round": 3, "flower": 12}
    own = json.loads((run / STATUS_FILE).read_text())
    changed(run / STATUS_FILE, **others, chosen=["nobody"])
    command(consortium, "resume", "stopped", "--wait", "0.1")
    kept = json.loads((run / STATUS_FILE).read_text())
    assert (kept["run"], kept["finished"], kept["before"], kept["flower"]) == (own["run"], -1, "", 0)
    assert "budget of another" not in said(consortium, "status")
    assert "budget of another" not in said(consortium, "finish")
    changed(run / STATUS_FILE, **own)
    command(consortium, "resume", "stopped", "--wait", "0.1")
    assert read_status(run / STATUS_FILE).before == own["ended"]


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.usefixtures("nobody")
def test_a_run_whose_first_sum_was_begun_is_not_called_one_that_was_not(consortium: Path, run: Path, asked) -> None:
    """Its sites may have charged for it, and nothing but the checkpoint, which is gone, could go on with it."""
    (run / "checkpoint.npz").unlink()
    changed(run / STATUS_FILE, round=-1, asked=asked)
    status, told = said(consortium, "status"), refused(consortium, "finish")
    assert ("nothing was begun" in status) == (not asked) == ("ended before its first sum" in told)
    assert ("stays in their ledgers" in status) == asked == ("stays in their ledgers" in told)
    before = (run / "study.yaml").read_bytes(), (run / STATUS_FILE).read_bytes()
    for words in (("resume", "stopped"), ("run", str(run / "study.yaml"), "--run", "stopped")):
        told = command(consortium, *words, "--wait", "0.1")
        assert ("whose checkpoint is gone" in told) == asked
        assert ((run / STATUS_FILE).read_bytes() == before[1]) == asked


def test_a_name_whose_status_is_damaged_and_whose_checkpoint_is_gone_is_not_taken(consortium: Path, run: Path) -> None:
    """Another study took the folder, and wrote over what said which study it was."""
    other = consortium / "other.yaml"
    other.write_text((run / "study.yaml").read_text().replace("rounds: 4", "rounds: 3"))
    assert read_study(other).digest != read_study(run / "study.yaml").digest
    (run / "checkpoint.npz").unlink()
    (run / STATUS_FILE).write_text("")
    before = (run / "study.yaml").read_bytes()
    words = ("resume", "stopped"), ("run", str(other), "--run", "stopped")
    for one in words:
        assert "whose status is damaged" in command(consortium, *one)
        assert (run / "study.yaml").read_bytes() == before and (run / STATUS_FILE).read_text() == ""
    (run / STATUS_FILE).unlink()
    (run / "run.lock").touch()  # as of whoever played it
    for one in words:
        assert "whose status is gone" in command(consortium, *one)
        assert (run / "study.yaml").read_bytes() == before and not (run / STATUS_FILE).exists()


def test_a_run_that_waits_for_its_first_sites_is_not_called_ended(consortium: Path, run: Path) -> None:
    (run / "checkpoint.npz").unlink()
    with another(run) as process:
        changed(run / STATUS_FILE, round=-1, ended="", process=process.pid)
        assert f"process {process.pid} plays this run" in refused(consortium, "finish")
    assert "ended before its first sum" in refused(consortium, "finish")


@pytest.mark.parametrize("number", [0, -1, True, 1.0])
def test_no_number_of_no_process_is_stopped(consortium: Path, run: Path, number, monkeypatch) -> None:
    """0 was the command's own group of processes, and everybody's run for good."""
    monkeypatch.setattr(os, "kill", lambda *told: pytest.fail(f"{told} was told"))
    changed(run / STATUS_FILE, process=number, ended="")
    assert "there is no status of a run that can be read" in refused(consortium, "stop")


def test_the_process_that_plays_is_told_to_stop(consortium: Path, run: Path) -> None:
    with another(run) as process:
        changed(run / STATUS_FILE, process=process.pid, ended="")
        said(consortium, "stop")
        assert process.wait(20) in (-signal.SIGTERM, 0)


def test_a_status_of_before_it_was_kept_whether_a_sum_was_begun_is_read(run: Path) -> None:
    values = json.loads((run / STATUS_FILE).read_text())
    assert "asked" not in values and read_status(run / STATUS_FILE).asked is False
    RunStatus("a", "b", 1, asked=True, ended="x").write(run / STATUS_FILE)
    assert read_status(run / STATUS_FILE).asked is True


def rewritten(path: Path, head=None, *, without: str = "", instead: object = None) -> None:
    """The checkpoint with other values in its head, or another head, or without some arrays."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    whole = instead if instead is not None else json.loads(arrays["head"].tobytes()) | (head or {})
    arrays["head"] = np.frombuffer(json.dumps(whole).encode(), dtype=np.uint8)
    np.savez(path, **{name: value for name, value in arrays.items() if not without or without not in name})


@pytest.mark.parametrize(
    "odd",
    [
        {"head": {"round": "2nd"}}, {"head": {"more": 1}}, {"head": {"history": []}}, {"head": {"study": None}},
        {"head": {"history": [{"round": 1}, {"round": 2}]}}, {"head": {"certified": [1]}}, {"instead": [1]},
        {"without": "weights"}, {"without": "sum/"}, {"without": "best"}, {"head": {"format": "x"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_of_odd_values_is_damaged(consortium: Path, run: Path, odd) -> None:
    """It ended the command as a fault of the program, or the run when it had gone on."""
    whole = (run / "checkpoint.npz").read_bytes()
    rewritten(run / "checkpoint.npz", **odd)
    for words in (("finish", "stopped"), ("resume", "stopped", "--wait", "0.1")):
        told = CliRunner().invoke(commands, [*words, "--at", str(consortium)]).exception
        assert isinstance(told, CheckpointError) and ("damaged" in str(told) or "format" in str(told)), told
    (run / "checkpoint.npz").write_bytes(whole)
    rewritten(run / "checkpoint.npz")
    said(consortium, "finish")


def test_a_model_that_cannot_be_written_is_said(consortium: Path, run: Path) -> None:
    (run / "model.safetensors").mkdir()
    assert "model.safetensors: cannot be written" in refused(consortium, "finish")
    (run / "model.safetensors").rmdir()
    said(consortium, "finish")


def test_what_a_kill_left_of_a_model_is_taken_away_by_the_next(consortium: Path, run: Path) -> None:
    """Safetensors writes to a file of a random name, as large as the model: each kill in it left one more for good."""
    left = run / ".model.safetensors.draft"
    left.mkdir()
    (left / ".tmpAbCdEf").write_bytes(b"half")
    said(consortium, "finish")
    assert not left.exists() and not list(run.glob(".*"))
    assert stat.S_IMODE((run / "model.safetensors").stat().st_mode) == 0o600


KILLED = """
import os, signal, sys
from pathlib import Path
import server.run.run_folder as run_folder
from server.run.finish import finish
save_file = run_folder.save_file
def killed(state, path, about):
    os.link(path, Path(path).with_name(".tmpAbCdEf"))  # as safetensors has one, of another name, in the same folder
    save_file(state, path, about)
    os.kill(os.getpid(), signal.SIGKILL)
run_folder.save_file = killed
finish(Path(sys.argv[1]))
"""


def test_a_kill_while_a_model_is_written_leaves_the_one_before(consortium: Path, run: Path) -> None:
    said(consortium, "finish")
    before, names = (run / "model.safetensors").read_bytes(), {path.name for path in run.iterdir()}
    done = subprocess.run(
        [sys.executable, "-P", "-c", KILLED, str(run)], env=environment(), cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert (run / "model.safetensors").read_bytes() == before
    assert {path.name for path in run.iterdir()} - names == {".model.safetensors.draft"}
    said(consortium, "finish")
    assert {path.name for path in run.iterdir()} == names


@pytest.mark.usefixtures("nobody")
def test_a_resume_whose_status_is_lost_says_how_far_the_run_is(consortium: Path, run: Path) -> None:
    (run / STATUS_FILE).unlink()
    command(consortium, "resume", "stopped", "--wait", "0.1")
    state = read(run / "checkpoint.npz", read_study(run / "study.yaml").digest)
    found = read_status(run / STATUS_FILE)
    assert (found.run, found.round) == (state.run, 1) and "done: round 1 of 4" in said(consortium, "status")


def test_a_run_whose_report_cannot_be_written_is_not_marked_as_finished(consortium: Path, run: Path) -> None:
    (run / "report.json").mkdir()
    assert "report cannot be written" in refused(consortium, "finish")
    assert read_status(run / STATUS_FILE).finished == -1
    (run / "report.json").rmdir()
    said(consortium, "finish")
    assert read_status(run / STATUS_FILE).finished == 1


def test_the_same_model_is_the_same_file(consortium: Path, run: Path) -> None:
    """What it says of itself stood in another order each time."""
    found = set[bytes]()
    for _ in range(6):
        said(consortium, "finish")
        found.add((run / "model.safetensors").read_bytes())
    assert len(found) == 1
    with safe_open(run / "model.safetensors", "np") as model:
        assert model.metadata()["study"] == read_study(run / "study.yaml").digest and list(model.keys())


FULL = """
import resource, signal, sys
from pathlib import Path
from common.errors import RunError
from server.run.finish import finish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
try:
    finish(Path(sys.argv[1]))
except RunError as error:
    print(error)
"""


def test_a_model_stays_where_there_is_no_room_for_the_next(consortium: Path, run: Path) -> None:
    """No file may be of more than 600 bytes, as on a full disk; it was called a fault of the program."""
    said(consortium, "finish")
    before = (run / "model.safetensors").read_bytes()
    done = subprocess.run(
        [sys.executable, "-P", "-c", FULL, str(run)],
        env=environment(), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "model.safetensors: cannot be written" in done.stdout, done.stderr[-300:]
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.usefixtures("nobody")
def test_a_run_whose_first_checkpoint_cannot_be_written_has_asked_nobody(consortium: Path, run: Path) -> None:
    """The status said that a sum was begun before that was so, and the name was refused for ever."""
    (run / "checkpoint.npz").unlink()
    status = RunStatus("", read_study(run / "study.yaml").digest, os.getpid(), rounds=4)

    def keep(number: int, survivors: Sequence[str]) -> None:
        raise OSError(errno.ENOSPC, "no space")

    def kept(number: int, survivors: Sequence[str]) -> None:
        assert not stored_status(run / STATUS_FILE).asked

    with pytest.raises(OSError, match="no space"), Watch(status, run / STATUS_FILE) as watch:
        _saying_so(watch, keep)(1, ())
    assert "checkpoint is gone" not in command(consortium, "resume", "stopped", "--wait", "0.1")
    assert "nothing was begun" in said(consortium, "status")
    with Watch(status, run / STATUS_FILE) as watch:
        _saying_so(watch, kept)(1, ())
        assert stored_status(run / STATUS_FILE).asked  # at once, for its process may be killed


@pytest.mark.parametrize("status", ["its own", "lost", "of another run", "of an older release"])
@pytest.mark.usefixtures("nobody")
def test_a_resume_that_comes_to_no_sum_knows_that_one_was_begun(consortium: Path, run: Path, status: str) -> None:
    """The first sum was announced, its sites may have charged, and no round is saved; then the checkpoint is lost."""
    state = read(run / "checkpoint.npz", read_study(run / "study.yaml").digest)
    state.round, state.history = -1, []
    save(state, run / "checkpoint.npz")
    if status == "its own":
        changed(run / STATUS_FILE, round=-1, asked=True)
    elif status == "lost":
        (run / STATUS_FILE).unlink()
    else:
        changed(run / STATUS_FILE, round=-1, **({"run": "f" * 16} if status == "of another run" else {}))
    command(consortium, "resume", "stopped", "--wait", "0.1")
    found = stored_status(run / STATUS_FILE)
    assert (found.run, found.round, found.asked) == (state.run, -1, True)
    (run / "checkpoint.npz").unlink()
    assert "nothing was begun" not in said(consortium, "status")
    assert "whose checkpoint is gone" in command(consortium, "run", str(run / "study.yaml"), "--run", "stopped")


def at_round(run: Path, number: int) -> None:
    state = read(run / "checkpoint.npz", read_study(run / "study.yaml").digest)
    last = dict(state.history[-1])
    state.history = [*state.history[: number + 1]]
    state.history += [last | {"round": one} for one in range(len(state.history), number + 1)]
    state.round = number
    save(state, run / "checkpoint.npz")


@pytest.mark.parametrize("number", [1, 4, 5])
@pytest.mark.usefixtures("nobody")
def test_an_older_checkpoint_that_was_put_back_takes_no_model_of_the_end(consortium: Path, run: Path, number) -> None:
    """Of four rounds, one that scores the last model, and the test, which scored nobody. `finish` wrote the model of
    round 1 over that of the end, and "completed" as the reason that it had ended before.
    """
    ended(run)
    said(consortium, "resume")
    at_round(run, number)
    kept = [(run / name).read_bytes() for name in ("model.safetensors", "report.json", STATUS_FILE)]
    for words in (("finish", "stopped"), ("resume", "stopped", "--wait", "0.1")):
        assert "an older one was put back" in command(consortium, *words)
    assert kept == [(run / name).read_bytes() for name in ("model.safetensors", "report.json", STATUS_FILE)]
    ended(run)
    said(consortium, "resume")


@pytest.mark.usefixtures("nobody")
def test_a_run_that_was_finished_and_goes_on_is_finished_again(consortium: Path, run: Path) -> None:
    """And not with a checkpoint of before; another run's report is none of its rounds."""
    for number in (1, 2, 4, 5):
        at_round(run, number)
        assert "an older one" not in command(consortium, "resume", "stopped", "--wait", "0.1")
        said(consortium, "finish")
    report = read_evidence(run / "report.json")
    write(replace(report, rounds=(*report.rounds[:-1], replace(report.rounds[-1], metrics={"auc": 0.5}))), run)
    for number in (4, 2, 1):
        at_round(run, number)
        assert "an older one was put back" in refused(consortium, "finish")
    write(replace(report, run="f" * 16), run)
    said(consortium, "finish")


@pytest.mark.usefixtures("nobody")
def test_a_folder_in_which_a_person_laid_a_study_is_taken(consortium: Path, run: Path) -> None:
    """No run's process has been in it. Of one that was begun its status tells, also where the study is gone."""
    (run / "checkpoint.npz").unlink()
    study = (run / "study.yaml").read_bytes()
    words = ("run", str(consortium / "other.yaml"), "--run", "stopped", "--wait", "0.1")
    (consortium / "other.yaml").write_bytes(study)
    (run / "study.yaml").unlink()
    assert "whose checkpoint is gone" in command(consortium, *words) and not (run / "study.yaml").exists()
    for one in (STATUS_FILE, "run.lock"):
        (run / one).unlink(missing_ok=True)
    (run / "study.yaml").write_bytes(study)
    assert "is gone" not in command(consortium, *words)


@pytest.mark.parametrize("checkpoint", ["none", "of no round"])
def test_a_site_that_was_lost_before_the_first_round_is_what_a_run_ends_with(
    consortium: Path, run: Path, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command said that there was no checkpoint, or no model."""

    def lost(*_: object) -> None:
        raise LostSiteError("north was away for an hour.")

    monkeypatch.setattr(deployed, "_played", lost)
    state = read(run / "checkpoint.npz", read_study(run / "study.yaml").digest)
    if checkpoint == "none":
        (run / "checkpoint.npz").unlink()
        changed(run / STATUS_FILE, round=-1, asked=False)
    else:
        state.round, state.history = 0, state.history[:1]
        save(state, run / "checkpoint.npz")
    assert "north was away for an hour" in command(consortium, "resume", "stopped")
