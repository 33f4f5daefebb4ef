"""A piece of a test as a process of its own, that can be killed or run out of disk. Forked: imports are dear."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable
from typing import Any


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
