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
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOADED = ("deploy.cli", "client.agent", "client.network.connector", "server.deployed", "opacus", "torchvision")


class Warm:
    """A started process; what of `subprocess.Popen` a test asks."""

    def __init__(self, log: Path, words: tuple[str, ...], env: dict[str, str]) -> None:
        self._process = _start(log, words, env)

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


_context: list[Any] = []


def _start(log: Path, words: tuple[str, ...], env: dict[str, str]) -> ForkServerProcess:
    if not _context:
        _context.append(multiprocessing.get_context("forkserver"))
        _context[0].set_forkserver_preload([__name__, *LOADED])
    log.touch()
    process: ForkServerProcess = _context[0].Process(target=_wardround, args=(log, words, env), daemon=True)
    process.start()
    return process


def _wardround(log: Path, words: tuple[str, ...], env: dict[str, str]) -> None:
    os.setsid()
    os.chdir(ROOT)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["wardround", *words]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from deploy.cli import main

    main()
