"""`wardround WORDS…` as a process of its own whose imports are made already.

A test's agents and runs would each load PyTorch for seconds. They are forked from a server that has loaded it, and
are from there on what a shell starts: a session, a command line, a log and an exit code of their own. The tests of
the real command start the real one.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOADED = ("deploy.cli", "client.agent", "client.network.connector", "server.deployed", "opacus", "torchvision")


class Warm:
    """A started process; what of `subprocess.Popen` a test asks."""

    def __init__(self, log: Path, words: tuple[str, ...], env: dict[str, str]) -> None:
        self._process = _start(words, env, _Place(Path(os.devnull), log, log, ROOT))

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code; `subprocess.TimeoutExpired` where it has none yet."""
        self._process.join(seconds)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("wardround", seconds or 0)
        return code


def ran(
    *words: str, cwd: Path, env: dict[str, str], stdin: str = "", seconds: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """What a command said, once it has ended: as `subprocess.run` has it."""
    with tempfile.TemporaryDirectory() as folder:
        asked, out, err = (Path(folder) / name for name in ("in", "out", "err"))
        asked.write_text(stdin, encoding="utf-8")
        process = _start(words, env, _Place(asked, out, err, cwd), ends=False)
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired("wardround", seconds, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(words, process.exitcode, out.read_text(), err.read_text())


@dataclass(frozen=True)
class _Place:
    """The files that are a process's streams, and its working folder."""

    stdin: Path
    stdout: Path
    stderr: Path
    cwd: Path


_context: list[Any] = []


def _start(words: tuple[str, ...], env: dict[str, str], place: _Place, *, ends: bool = True) -> ForkServerProcess:
    """`ends`: with the tests, if it is still there, and then it may have no workers of its own."""
    if not _context:
        _context.append(multiprocessing.get_context("forkserver"))
        _context[0].set_forkserver_preload([__name__, *LOADED])
    for log in (place.stdout, place.stderr):
        log.touch()
    process: ForkServerProcess = _context[0].Process(target=_wardround, args=(words, env, place), daemon=ends)
    process.start()
    return process


def _wardround(words: tuple[str, ...], env: dict[str, str], place: _Place) -> None:
    os.setsid()
    os.chdir(place.cwd)
    for stream, path in enumerate((place.stdin, place.stdout, place.stderr)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND if stream else os.O_RDONLY)
        os.dup2(file, stream)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # the fork server's own is closed
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["wardround", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from deploy.cli import main

    main()
