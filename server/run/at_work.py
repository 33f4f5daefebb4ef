"""Which run the sites of a consortium serve: one at a time, by locks of the kernel that end with the run's process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common.errors import BusyError

FOLDER = "at-work"  # in the coordinator's state: one file a site, with the name of the run that it serves


@contextmanager
def at_work(state: Path, sites: Iterable[str], run: str) -> Iterator[None]:
    """These sites serve this run, until the block or the process ends. BusyError where one serves another run."""
    folder = state / FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        busy: dict[str, list[str]] = {}
        for site in sorted(sites):
            other = stack.enter_context(_taken(folder / site, run))
            if other:
                busy.setdefault(other, []).append(site)
        if busy:
            raise BusyError(_said(busy))
        yield


@contextmanager
def _taken(path: Path, run: str) -> Iterator[str]:
    """The name of the run that has the lock; empty when this one has it now."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _holder(file, run)
    finally:
        os.close(file)


def _holder(file: int, run: str) -> str:
    try:
        fcntl.flock(
            file, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # of this open file: two runs in one process exclude each other
    except BlockingIOError:
        return os.pread(file, 200, 0).decode("utf-8", "replace") or "another run"
    os.ftruncate(file, 0)
    os.pwrite(file, run.encode(), 0)
    return ""


def _said(busy: dict[str, list[str]]) -> str:
    told = [
        f"{', '.join(sites)} {'serves' if len(sites) == 1 else 'serve'} the run {run}" for run, sites in busy.items()
    ]
    run = next(iter(busy))
    return (
        f"A site serves one run of a consortium at a time, and {'; '.join(told)}. Wait for it to end (`wardround "
        f"status {run}` shows how far it is), or stop it (`wardround stop {run}`), or run over other sites (--site)."
    )
