"""A piece of a test as a process of its own, that can be killed or run out of disk. Forked: imports are dear."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

DISK_CALLS = ("open", "write", "fsync", "replace", "link", "unlink", "rmdir", "mkdir", "chmod", "fchmod", "rename")


def start(work: Callable[..., None], *arguments: Any, daemon: bool = True) -> tuple[Any, Any]:
    """A process doing `work(told, ...)`, where `told.send` tells; and the end of the pipe on which that arrives.

    daemon: ends with this process, and may start none itself
    """
    context = multiprocessing.get_context("fork")
    mine, told = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(told, *arguments), daemon=daemon)
    process.start()
    told.close()
    return process, mine


def all_told(mine: Any) -> list[Any]:
    """Until the process ends."""
    told = []
    with contextlib.suppress(EOFError):
        while True:
            told.append(mine.recv())
    return told


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that is killed at its call `number` to the disk, before it or after it; whether it was."""
    process, mine = start(_until, number, work)
    all_told(mine)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _until(told: Any, number: int, work: Callable[[], object]) -> None:
    seen = 0

    def reached() -> None:
        nonlocal seen
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def around(call: Callable[..., Any]) -> Any:
        def watched(*given: Any, **named: Any) -> Any:
            reached()
            result = call(*given, **named)
            reached()
            return result

        return watched

    for name in DISK_CALLS:
        setattr(os, name, around(getattr(os, name)))
    work()
