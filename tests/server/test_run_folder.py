"""Who plays a run: one process, that the kernel knows, and no other that got its number."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.errors import RunError
from deploy.daemons.processes import process_of_run
from server.run.run_folder import player_of, playing
from server.run.watch import STATUS_FILE, RunStatus, left_in, read_status
from tests.support.deployment import ROOT, environment

PLAYS = """
import sys, time
from pathlib import Path
from server.run.run_folder import playing
with playing(Path(sys.argv[1])):
    print("plays", flush=True)
    time.sleep(60)
"""


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that plays the run in this folder, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PLAYS, str(folder)],
        env=environment(), cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == "plays\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_one_process_plays_a_run_and_a_second_one_is_told_which(tmp_path: Path) -> None:
    with another(tmp_path / "run") as process:
        assert player_of(tmp_path / "run") == process.pid
        with pytest.raises(RunError, match=f"process {process.pid} plays this run"), playing(tmp_path / "run"):
            pass
    assert player_of(tmp_path / "run") == 0
    with playing(tmp_path / "run"):
        pass


def test_a_run_that_was_killed_is_not_taken_for_another_process_with_its_number(tmp_path: Path) -> None:
    status = RunStatus("run", "study", os.getpid(), flower=17)  # this process is alive, and plays nothing
    status.write(tmp_path / STATUS_FILE)
    assert "was killed" in read_status(tmp_path / STATUS_FILE).ended
    with pytest.raises(RunError, match="not running"):
        process_of_run(tmp_path / STATUS_FILE)
    assert read_status(tmp_path / STATUS_FILE).flower == 17


def test_the_process_that_plays_is_the_one_to_stop(tmp_path: Path) -> None:
    with another(tmp_path) as process:
        RunStatus("run", "study", process.pid).write(tmp_path / STATUS_FILE)
        assert process_of_run(tmp_path / STATUS_FILE) == process.pid


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '{"sites": 1}', '{"sites": {}, "unknown": 1}'])
def test_no_status_or_another_releases_is_said_in_words(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / STATUS_FILE).write_text(text)
    with pytest.raises(RunError, match="there is no status of a run"):
        read_status(tmp_path / STATUS_FILE)
    assert left_in(tmp_path / STATUS_FILE) is None
