"""What a person is told who stops a simulation: a command that goes on with it, or starts it again."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.cli import commands
from deploy.commands import control_c
from deploy.research.synthetic.generate import generate
from server.run import finish
from server.run.checkpoint import CHECKPOINT_FILE
from server.run.watch import STOPPED
from tests.support.deployment import ROOT, environment


@pytest.mark.parametrize("saved", [False, True])
def test_a_stopped_simulation_names_a_command_that_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """Before its first sum there is nothing to resume: the command that was named refused to."""
    generate(tmp_path / "h", sites=3, seed=0, scale=0.05)
    monkeypatch.chdir(tmp_path)

    def stopped(plan: Any, *_: Any) -> Any:
        plan.folder.mkdir(parents=True, exist_ok=True)
        if saved:
            (plan.folder / CHECKPOINT_FILE).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.research.simulation.simulate.simulate", stopped)
    words = ["simulate", "h/study.yaml", "--hospitals", "h", "--run", "one", "--no-compare"]
    said = CliRunner().invoke(commands, words)
    assert said.exit_code != 0
    told = str(said.exception) + said.output
    (again,) = (line.strip() for line in told.splitlines() if line.strip().startswith("wardround simulate"))
    assert shlex.split(again)[1:] == [*words[:-1], *(["--resume"] if saved else []), "--no-compare"]
    assert ("What was saved stays" in told) == saved


@pytest.fixture
def heeded() -> Iterator[None]:
    """Ctrl-C as the command line takes it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        control_c.heed_once()
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("heeded")
def test_a_second_ctrl_c_does_not_break_off_what_the_first_one_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came while the reason was written, and the run was said to have been killed."""
    write = finish.write_whole

    def pressed_again(path: Path, content: bytes) -> None:
        if stopping:
            press()
        write(path, content)

    stopping = []
    monkeypatch.setattr(finish, "write_whole", pressed_again)
    with pytest.raises(KeyboardInterrupt), finish.leaving_its_reason(tmp_path):
        stopping.append(True)
        press()
    assert finish.reason_of(tmp_path) == STOPPED


@pytest.mark.usefixtures("heeded")
def test_a_ctrl_c_after_a_while_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever swallowed the first one, a person can always stop."""
    monkeypatch.setattr(control_c, "QUICK", 0.0)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            press()


def test_what_ignores_ctrl_c_goes_on_to_ignore_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        control_c.heed_once()
        press()
        control_c.end_at_the_next()
        press()
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_while_the_interpreter_ends_shows_no_traceback() -> None:
    """It waits for the workers of a comparison then, and showed where in `threading` it did."""
    words = """
import sys, threading, time
from deploy import cli

def works():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    print("ending", file=sys.stderr, flush=True)
    time.sleep(30)

def stopped(**_):
    threading.Thread(target=works).start()
    raise KeyboardInterrupt

cli.commands = stopped
cli.main()
"""
    command = ["env", "--default-signal=INT", sys.executable, "-c", words]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=-1, text=True) as process:
        assert process.stderr is not None
        assert "stopped" in process.stderr.readline() and process.stderr.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT and not rest
