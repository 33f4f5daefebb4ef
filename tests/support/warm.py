"""`wardround WORDS…` as a process of its own whose imports are made already.

A test's agents and runs would each load PyTorch for seconds. They are forked from a server that has loaded it, and
are from there on what a shell starts: a session, a command line, a log and an exit code of their own. The tests of
the real command start the real one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver, util
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from deploy.research.simulation import forks

ROOT = Path(__file__).resolve().parents[2]
LOADED = (
    "deploy.cli",
    "client.agent.agent",
    "client.network.connector",
    "server.run.deployed",
    "opacus",
    "torchvision",
)
# A process has one fork server: that of a test's simulations, if it is there first, loads for these processes too.
forks.PRELOADED += [__name__, *(name for name in LOADED if name not in forks.PRELOADED)]
CLONE_NEWNET = 0x40000000


class Warm:
    """A started process; what of `subprocess.Popen` a test asks."""

    def __init__(self, log: Path, words: tuple[str, ...], env: dict[str, str], *, network: bool = True) -> None:
        """`network`: without it, in a namespace that has none but a loopback that is down."""
        self._process = _start(words, env, _Place(Path(os.devnull), log, log, ROOT, network))

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        """A process that has ended is sent nothing: its fork server knows of it before its exit code is here."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code; `subprocess.TimeoutExpired` where it has none yet."""
        self._process.join(seconds)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("wardround", seconds or 0)
        return code


def opened(*words: str, cwd: Path, env: dict[str, str], stdout: Path, stderr: Path) -> ForkServerProcess:
    """A command at work, whose output goes to these files."""
    return _start(words, env, _Place(Path(os.devnull), stdout, stderr, cwd), ends=False)


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


def called(work: Callable[..., None], *arguments: Any, seconds: float = 300.0) -> int:
    """The exit code of a process that does `work`, which may start a simulation."""
    process = forks.forks().Process(target=_called, args=(work, *arguments))
    process.start()
    process.join(seconds)
    assert process.exitcode is not None, f"{work.__name__}: still at work after {seconds:.0f} s"
    return int(process.exitcode)


def _called(work: Callable[..., None], *arguments: Any) -> None:
    util.spawnv_passfds = _spawned  # type: ignore[assignment]
    work(*arguments)


@dataclass(frozen=True)
class _Place:
    """The files that are a process's streams, its working folder, and whether it has a network."""

    stdin: Path
    stdout: Path
    stderr: Path
    cwd: Path
    network: bool = True


def _start(words: tuple[str, ...], env: dict[str, str], place: _Place, *, ends: bool = True) -> ForkServerProcess:
    """`ends`: with the tests, if it is still there, and then it may have no workers of its own."""
    for log in (place.stdout, place.stderr):
        if not log.exists():
            log.touch()
    process: ForkServerProcess = forks.forks().Process(target=_wardround, args=(words, env, place), daemon=ends)
    process.start()
    return process


def _wardround(words: tuple[str, ...], env: dict[str, str], place: _Place) -> None:
    os.setsid()
    if not place.network and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace of its own")
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
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    util.spawnv_passfds = _spawned  # type: ignore[assignment]
    from deploy.cli import main

    main()


_spawn = util.spawnv_passfds


def _spawned(path: bytes, args: list[str], fds: list[int]) -> int:
    """Start a process that `multiprocessing` wants: its fork server from here, where all is loaded."""
    if forkserver.__name__ not in args[-1]:
        return _spawn(path, args, fds)
    process = os.fork()
    if process == 0:
        _close_all_but({0, 1, 2, *fds})
        try:
            exec(args[-1])  # `from multiprocessing.forkserver import main; main(…)`
        finally:
            os._exit(0)
    return process


def _close_all_but(kept: set[int]) -> None:
    """As `exec` would: its own end of the pipe that tells it when to stop would keep it for ever."""
    for number in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if number not in kept:
            with contextlib.suppress(OSError):
                os.close(number)
