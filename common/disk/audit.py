"""The audit log: what this side did and what it refused, one line an event, each line sealing the one before.

Lines of JSON, only ever added to. A line holds its number from 1 on, the time in UTC, the event, and the SHA-256 of all
this and of the line before; so a line that was changed, lost, added or moved is found, and its place. What it cannot
do: who owns the machine can write the whole chain anew, or cut its end off, so copy the head's hash to another place
from time to time, and give it to `verify`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.disk.audit_events import (
    KINDS,
    LINE_BYTES,
    NO_LINE,
    Admitted,
    AllowedSet,
    Approved,
    Began,
    Confirmed,
    CutsKept,
    Ended,
    Event,
    Expired,
    Failed,
    Joined,
    LedgerAccepted,
    LeftOut,
    Masked,
    Offered,
    OptOutsAccepted,
    Paused,
    Purged,
    Record,
    Refused,
    Removed,
    Repaired,
    Resumed,
    Revealed,
    Sent,
    SentUnmasked,
    Spent,
    Started,
    Summed,
    SumsAccepted,
    Withdrew,
)
from common.disk.lock import locked
from common.errors import AuditError

__all__ = [
    "AUDIT_FILE",
    "Admitted", "AllowedSet", "Approved", "Audit", "Began", "Break", "Confirmed", "CutsKept", "Ended", "Event",
    "Expired", "Failed", "Joined", "LedgerAccepted", "LeftOut", "Masked", "Offered", "OptOutsAccepted", "Paused",
    "Purged", "Record", "Refused", "Removed", "Repaired", "Resumed", "Revealed", "Sent", "SentUnmasked", "Spent",
    "Started", "Summed", "SumsAccepted", "Verdict", "Withdrew",
]  # fmt: skip

AUDIT_FILE = "audit.jsonl"  # of a site, or of the coordinator, in its state folder
_BREAKS = {
    "changed": "is not as it was written, or not what was written after the line before",
    "missing": "one or more lines are missing here",
    "order": "belongs to another place",
    "first": "is not the first line that was written",
    "newer": "was written by a newer release of wardround. Install that one to read and to add to this log",
    "cut": "the remembered line is gone from here or from before: the end was cut off, or the log written anew",
}


@dataclass(frozen=True)
class Break:
    """The first line where the chain is broken, and how."""

    line: int
    kind: Literal["changed", "missing", "order", "first", "cut", "newer"]

    def __str__(self) -> str:
        return f"line {self.line}: {_BREAKS[self.kind]}"


@dataclass(frozen=True)
class Verdict:
    """`count` lines are as they were written, from the first on, and `head` is the hash of the last of them.

    unfinished: bytes of a last line that a kill cut off. No break: the next append takes them away, and says so.
    """

    count: int
    head: str
    unfinished: int = 0
    broken: Break | None = None


class Audit:
    """The log at `path`. Safe between threads and processes: an append reads the end of the file, under a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Record | None = None  # the last one of this process

    def __repr__(self) -> str:
        return f"Audit({str(self._path)!r})"

    def append(self, event: Event) -> None:
        """Add an event; it is on disk when this returns.

        An unfinished last line is taken away first, and a `Repaired` says so. AuditError, with the event not in the
        log, when the disk does not take it, when the end of the log is broken in another way, or when a line is gone
        that this process wrote.
        """
        if type(event) not in KINDS.values():
            raise AuditError("What goes into the audit log is one of its own events.")
        with self._locked(os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as file:
            os.fchmod(file, 0o600)
            last, unfinished = self._end(file)
            if last is None:
                _sync_folder(self._path.parent)
            if unfinished:
                os.ftruncate(file, os.fstat(file).st_size - unfinished)
                last = _add(file, last, Repaired(unfinished))
            self._written = _add(file, last, event)

    def verify(self, remembered: str | None = None) -> Verdict:
        """Read the whole chain. With the hash of a head that was kept elsewhere, a cut end is found too."""
        lines, unfinished = self._lines()
        last, found = None, remembered in (None, NO_LINE)
        broken: Break | None = None
        for item in _chain(lines, unfinished):
            if isinstance(item, Break):
                broken = item
            else:
                last, found = item, found or item.hash == remembered
        count, head = (last.sequence, last.hash) if last else (0, NO_LINE)
        if not broken and not found:
            broken = Break(count + 1, "cut")
        return Verdict(count, head, 0 if broken else len(unfinished), broken)

    def events(self) -> Iterator[Record]:
        """All records, oldest first. AuditError where the chain is broken."""
        for item in _chain(*self._lines()):
            if isinstance(item, Break):
                raise AuditError(f"{self._path}, {item}.")
            yield item

    def readable(self, *kinds: type[Event]) -> Iterator[Event]:
        """All events of these kinds whose line is as it was written, oldest first, whatever became of other lines."""
        marks = [f'"event":"{kind.__name__}"'.encode() for kind in kinds]
        for line in self._lines()[0]:
            if any(mark in line for mark in marks) and (record := Record.read(line)) is not None:
                yield record.event

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        """The open file, which nobody else changes until the block ends. The system frees a killed process's lock."""
        try:
            if flags & os.O_CREAT:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self._path, flags | os.O_NOFOLLOW, lock) as file:
                yield file
        except OSError as problem:
            raise AuditError(
                f"{self._path}: cannot be read or written ({problem.strerror}). "
                "Make room on the disk, or mend the permissions of the file and its folder."
            ) from None

    def _lines(self) -> tuple[list[bytes], bytes]:
        """All finished lines, and what follows them. A log that was not begun has none."""
        if not os.path.lexists(self._path):
            return [], b""
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as file, os.fdopen(file, "rb", closefd=False) as stream:
            *lines, unfinished = stream.read().split(b"\n")
            return [line + b"\n" for line in lines], unfinished

    def _end(self, file: int) -> tuple[Record | None, int]:
        """The last record, and the bytes of an unfinished line after it; of two lines' length, however long the log."""
        size = os.fstat(file).st_size
        content = os.pread(file, 2 * LINE_BYTES, max(0, size - 2 * LINE_BYTES))
        finished, newline, unfinished = content.rpartition(b"\n")
        last = Record.read(finished.rpartition(b"\n")[2] + newline)
        if not last and Record.is_newer(finished.rpartition(b"\n")[2]):
            raise AuditError(f"{self._path}: its last line {_BREAKS['newer']}.")
        if (size > len(unfinished) and not last) or not _is_beginning(unfinished, last):
            raise AuditError(
                f"{self._path}: its end is not as it was written, so nothing is added. Find out what changed the file; "
                "moving it away starts a new log."
            )
        mine, count = self._written, last.sequence if last else 0
        if mine and (count < mine.sequence or (count == mine.sequence and last != mine)):
            raise AuditError(f"{self._path}: lines that this process wrote are gone, so nothing is added.")
        return last, len(unfinished)


def _add(file: int, last: Record | None, event: Event) -> Record:
    """Write one line and bring it to the disk, or leave the file as it was."""
    record, size = Record.after(last, event), os.fstat(file).st_size
    line = record.line
    try:
        while line:
            line = line[os.write(file, line) :]
        os.fsync(file)
    except OSError:
        os.ftruncate(file, size)
        raise
    return record


def _sync_folder(path: Path) -> None:
    """A new file's name is on the disk too."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_beginning(unfinished: bytes, last: Record | None) -> bool:
    """Whether a kill can have left this of the line after `last`: its first bytes, at most all but the line feed."""
    start = b'{"sequence":%d,"time":"' % (last.sequence + 1 if last else 1)
    return start.startswith(unfinished[: len(start)]) and b"}" not in unfinished[:-1] and len(unfinished) < LINE_BYTES


def _chain(lines: Sequence[bytes], unfinished: bytes) -> Iterator[Record | Break]:
    """The records of the lines; and a Break in place of the first that is not what has to stand there."""
    last: Record | None = None
    for due, line in enumerate(lines, start=1):
        record = Record.read(line)
        if record is None:
            yield Break(due, "newer" if Record.is_newer(line) else "changed")
            return
        if (record.sequence, record.before) != (due, last.hash if last else NO_LINE):
            yield _misplaced(record, due, lines[due:])
            return
        yield record
        last = record
    if not _is_beginning(unfinished, last):
        yield Break(len(lines) + 1, "changed")


def _misplaced(record: Record, due: int, rest: Sequence[bytes]) -> Break:
    """What happened where line `due` has to be, and a whole line stands that does not follow the one before."""
    if due == 1:
        return Break(due, "first")
    if record.sequence == due:
        return Break(due, "changed")
    later = (Record.read(line) for line in rest)
    out_of_order = record.sequence < due or any(other.sequence == due for other in later if other)
    return Break(due, "order" if out_of_order else "missing")
