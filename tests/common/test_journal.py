"""The journal under the audit log and the ledger: what its lines are, what a kill leaves, what is no chain."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.disk.journal import BrokenError, Journal, Seen, content_of
from common.errors import RunError
from tests.support.forked import all_told, killed_at, start


@dataclass(frozen=True)
class Note:
    number: int
    before: int


class Form:
    """Each line names the number of the one before."""

    newest = 1

    def read(self, line: bytes) -> Note | None:
        try:
            values = json.loads(line)
            return Note(values["number"], values["before"]) if values.get("format", 0) <= self.newest else None
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def follows(self, record: Note, last: Note | None) -> bool:
        return record.before == (last.number if last else 0)


def line_of(number: int, before: int, **more: Any) -> bytes:
    return json.dumps({"number": number, "before": before, **more}).encode() + b"\n"


def journal_at(path: Path, **how: Any) -> Journal[Note]:
    return Journal(path, Form(), lambda problem: RunError(f"unusable: {problem.strerror}"), **how)


def append(path: Path, number: int) -> None:
    """As its users do: mend the end, then add."""
    journal = journal_at(path)
    with journal.writing() as file:
        last, unfinished = journal.end(file, 200)
        if unfinished:
            journal.take_away(file, unfinished)
        journal.add(file, line_of(number, last.number if last else 0))


def numbers(path: Path) -> list[int]:
    *lines, _ = journal_at(path).content().split(b"\n")
    return [note.number for note in journal_at(path).chain(lines)]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@given(known=st.integers(0, 3), added=st.integers(1, 5))
@settings(max_examples=5, deadline=None)
def test_killed_at_any_moment_it_holds_all_that_was_said_to_be_in_it(known: int, added: int) -> None:
    """What was appended stays, in order; of what was not, all or nothing after the next append."""
    with folder() as place:
        path, moment = place / "state" / "journal", 0
        for number in range(1, known + 1):
            append(path, number)
        while killed_at(moment, lambda: append(path, known + added)):
            there = numbers(path)
            assert there in ([*range(1, known + 1)], [*range(1, known + 1), known + added])
            append(path, 99)
            assert numbers(path) == [*there, 99]
            path.write_bytes(b"".join(line_of(number, number - 1) for number in range(1, known + 1)))
            if not known:
                path.unlink()
            moment += 1
        assert moment > 4


@given(count=st.integers(1, 6), cut=st.integers(0, 400), seen=st.integers(0, 6))
@settings(deadline=None)
def test_what_is_new_is_read_on_from_what_was_seen(count: int, cut: int, seen: int) -> None:
    """As from the start: the same records, the same bytes, wherever a kill cut the file."""
    whole = b"".join(line_of(number, number - 1) for number in range(1, count + 1))
    content, journal = whole[:cut], journal_at(Path("nowhere"))
    records, all_of, unfinished = journal.read_on(Seen(), content)
    assert all_of.content + unfinished == content and b"\n" not in unfinished
    assert [note.number for note in records] == [*range(1, all_of.count + 1)]
    _, first, _ = journal.read_on(Seen(), b"".join(whole.splitlines(keepends=True)[: min(seen, all_of.count)]))
    more, then, rest = journal.read_on(first, content)
    assert (then, rest) == (all_of, unfinished) and [*records[: first.count], *more] == records


@given(count=st.integers(1, 4), cut=st.integers(0, 140))
@settings(max_examples=30, deadline=None)
def test_a_line_that_a_kill_cut_off_is_gone_with_the_next(count: int, cut: int) -> None:
    with folder() as place:
        path = place / "journal"
        path.write_bytes(b"".join(line_of(number, number - 1) for number in range(1, count + 1))[:cut])
        there = numbers(path)
        append(path, 99)
        assert numbers(path) == [*there, 99] and path.read_bytes().endswith(b"\n")


@given(count=st.integers(2, 6), data=st.data())
@settings(deadline=None)
def test_a_line_that_was_changed_lost_or_moved_is_found(count: int, data: st.DataObject) -> None:
    lines = [line_of(number, number - 1) for number in range(1, count + 1)]
    at = data.draw(st.integers(0, count - 2))
    how = data.draw(st.sampled_from(["lost", "moved", "changed", "newer"]))
    if how == "lost":
        del lines[at]
    elif how == "moved":
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    elif how == "changed":
        lines[at] = line_of(100, at)
    else:
        lines[at] = line_of(at + 1, at, format=7)
    with pytest.raises(BrokenError) as caught:
        journal_at(Path("nowhere")).read_on(Seen(), b"".join(lines))
    assert caught.value.number == at + 1 + (how == "changed")
    assert caught.value.format == (7 if how == "newer" else 0)


def test_several_at_once_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    def add(told: Any, first: int) -> None:
        for number in range(first, first + 60):
            append(path, number)

    several = [start(add, first) for first in (1, 1001, 2001)]
    for process, mine in several:
        assert all_told(mine) == []
        process.join()
        assert process.exitcode == 0
    assert sorted(numbers(path)) == [*range(1, 61), *range(1001, 1061), *range(2001, 2061)]


def test_a_line_is_on_the_disk_before_it_is_said_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, int]] = []
    fsync = os.fsync

    def watched(file: int) -> None:
        fsync(file)
        synced.append((os.fstat(file).st_ino, os.fstat(file).st_size))

    monkeypatch.setattr(os, "fsync", watched)
    append(tmp_path / "journal", 1)
    file = (tmp_path / "journal").stat()
    assert synced[0][0] == tmp_path.stat().st_ino and synced[1:] == [(file.st_ino, file.st_size)]


def test_a_link_in_its_place_is_followed_only_where_that_is_asked(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="unusable"), journal_at(tmp_path / "journal").writing():
        pass
    with pytest.raises(RunError, match="unusable"):
        journal_at(tmp_path / "journal").content()
    with journal_at(tmp_path / "journal", through_links=True).writing() as file:
        assert content_of(file) == b""
