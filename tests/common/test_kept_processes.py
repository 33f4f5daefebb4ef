"""Processes that are kept running, ended, and end with whoever started them: real ones, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.pause import Pause
from common.processes import kept
from common.processes.kept import Kept

ROOT = Path(__file__).resolve().parents[2]
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
CHILD = """
import os, signal, sys, time
from common.processes.parent import end_with
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
end_with(int(sys.argv[1]), 0.3)
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-P", "-c", sys.argv[1], str(os.getpid()), sys.argv[2]])
time.sleep(60)
"""


def started(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", *words], stdout=subprocess.PIPE)


def until_ended(process: Kept) -> None:
    assert process.process is not None
    process.process.wait(20)


@given(first=st.floats(0.01, 5), longest=st.floats(5, 100), tries=st.lists(st.booleans(), max_size=30))
def test_pauses_grow_while_nothing_comes_and_never_beyond_the_longest(
    first: float, longest: float, tries: list[bool]
) -> None:
    pause, due = Pause(first, longest), first
    assert pause.seconds == first
    for well in tries:
        due = first if well else min(2 * due, longest)
        assert (pause.anew() if well else pause.longer()) == due == pause.seconds


def test_what_ends_is_started_again_later_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SOONEST_SECONDS", 0.02)
    process = Kept(lambda: started("raise SystemExit(3)"), longest=0.05, patience=5)
    found, pids = list[tuple[int, float]](), set[int]()
    ends = time.monotonic() + 20
    while len(found) < 3 and time.monotonic() < ends:
        if (said := process.keep()) is not None:
            found.append(said)
            assert process.process is None and process.keep() is None and process.process is None  # not due yet
        elif process.process is not None:
            pids.add(process.process.pid)
            until_ended(process)
        time.sleep(0.005)
    assert found == [(3, 0.04), (3, 0.05), (3, 0.05)] and len(pids) == 3
    monkeypatch.setattr(kept, "STEADY_SECONDS", 0.0)
    while process.process is None:
        process.keep()
    until_ended(process)
    assert process.keep() == (3, 0.02)  # it ran for long


def test_one_that_does_not_end_when_told_is_killed() -> None:
    for program, due in ((DEAF, -signal.SIGKILL), (DEAF.replace("SIG_IGN", "SIG_DFL"), -signal.SIGTERM)):
        process = Kept(lambda program=program: started(program), longest=1, patience=0.3 if "IGN" in program else 20)
        process.begin()
        assert process.process is not None and process.process.stdout is not None
        assert process.process.stdout.readline() == b"up\n" and process.is_running
        process.end()
        assert not process.is_running and process.process.returncode == due
        process.end()  # again: nothing


@pytest.mark.parametrize("how", ["told", "deaf"])
def test_a_child_ends_soon_after_a_parent_that_was_killed(how: str) -> None:
    words = [sys.executable, "-P", "-c", PARENT, CHILD, how]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        began = time.monotonic()
        assert parent.stdout.read() == b""  # the child has it too: until it has ended
        assert time.monotonic() - began < 15
