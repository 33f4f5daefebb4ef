"""A process that is killed while it writes: what it said was written is, and no more than the torn line is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from common.disk.audit import Audit, Break, Joined, Repaired, Started, Verdict
from tests.support.audit import RUN, STUDY, add, events, numbers
from tests.support.forked import all_told, start


def test_a_line_cut_off_at_any_byte_is_taken_away_and_told(path: Path, six: list[bytes]) -> None:
    whole, line = b"".join(six[:-1]), six[-1]
    head = json.loads(six[4])["hash"]
    for kept in range(1, len(line)):
        path.write_bytes(whole + line[:kept])
        assert Audit(path).verify(head) == Verdict(5, head, unfinished=kept)
        assert Audit(path).verify(json.loads(line)["hash"]).broken == Break(6, "cut")
        assert [record.sequence for record in Audit(path).events()] == [1, 2, 3, 4, 5]
        Audit(path).append(Started("0.1.0"))
        assert events(path)[5:] == [Repaired(kept), Started("0.1.0")]
        assert Audit(path).verify(head).broken is None


def test_a_first_line_cut_off(path: Path, six: list[bytes]) -> None:
    path.write_bytes(six[0][:40])
    Audit(path).append(Started("0.1.0"))
    assert events(path) == [Repaired(40), Started("0.1.0")]


def test_killed_half_way_through_a_line(path: Path, six: list[bytes]) -> None:
    def append(told: Any) -> None:
        write = os.write

        def half(file: int, content: bytes) -> int:
            write(file, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        setattr(os, "write", half)  # noqa: B010 (this process is killed in it)
        Audit(path).append(Started("0.1.0"))
        told.send("added")

    process, mine = start(append)
    assert all_told(mine) == []
    process.join()
    assert process.exitcode == -signal.SIGKILL
    verdict = Audit(path).verify()
    assert verdict.count == 6 and verdict.unfinished > 50 and verdict.broken is None
    Audit(path).append(Joined(STUDY, RUN, 2))
    assert events(path)[6:] == [Repaired(verdict.unfinished), Joined(STUDY, RUN, 2)]


def test_killed_again_and_again_it_keeps_all_that_it_said_was_written(path: Path) -> None:
    said: list[int] = []
    for turn in range(12):
        first = 10_000 * turn
        process, mine = start(add, path, first, first + 10_000)
        said += [mine.recv() for _ in range(turn)]
        time.sleep(0.0007 * turn)
        process.kill()
        said += all_told(mine)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert Audit(path).verify().broken is None
    assert set(said) <= set(numbers(path)) and len(numbers(path)) <= len(said) + 12
    Audit(path).append(Started("0.1.0"))
    assert Audit(path).verify().broken is None
