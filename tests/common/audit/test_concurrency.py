"""Several who write one log at once: processes, threads, a reader, and a child that knows nothing of it."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from common.disk.audit import Audit, Offered, Started
from tests.support.audit import RUN, STUDY, add, numbers
from tests.support.forked import all_told, start


def test_two_processes_at_once_make_one_chain(path: Path) -> None:
    both = [start(add, path, first, first + 200) for first in (0, 1000)]
    for process, mine in both:
        assert len(all_told(mine)) == 200
        process.join()
        assert process.exitcode == 0
    verdict = Audit(path).verify()
    assert (verdict.count, verdict.unfinished, verdict.broken) == (400, 0, None)
    order = numbers(path)
    assert [number for number in order if number < 1000] == list(range(200))
    assert [number for number in order if number >= 1000] == list(range(1000, 1200))


def test_two_logs_of_one_file_in_turns_and_threads(path: Path) -> None:
    one, other = Audit(path), Audit(path)
    for number in range(5):
        one.append(Offered(STUDY, RUN, number))
        other.append(Offered(STUDY, RUN, 100 + number))
    threads = [threading.Thread(target=one.append, args=(Offered(STUDY, RUN, 200 + n),)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Audit(path).verify().count == 30 and sorted(numbers(path)[10:]) == list(range(200, 220))


def test_a_reader_may_write_while_it_reads(path: Path, six: list[bytes]) -> None:
    audit = Audit(path)
    for record in audit.events():
        audit.append(Offered(STUDY, RUN, record.sequence))
    assert audit.verify().count == 12


def test_a_child_forked_in_the_middle_does_not_keep_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[Any] = []
    fsync = os.fsync

    def fork_first(file: int) -> None:
        children.append(multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True))
        children[-1].start()
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fork_first)
        Audit(path).append(Started("0.1.0"))
    process, mine = start(add, path, 0, 1)
    try:
        assert mine.poll(10), "the second append still waits for the lock"
    finally:
        for child in (*children, process):
            child.kill()
            child.join()
