"""The audit log: what this side did and what it refused, one line an event, each line sealing the one before.

Lines of JSON, only ever added to. A line holds its number from 1 on, the time in UTC, the event, and the SHA-256 of all
this and of the line before; so a line that was changed, lost, added or moved is found, and its place. What it cannot
do: who owns the machine can write the whole chain anew, or cut its end off, so copy the head's hash to another place
from time to time, and give it to `verify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.disk.audit_events import (
    KINDS,
    LINE_BYTES,
    LINE_FORMAT,
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
from common.disk.journal import BrokenError, Journal
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


class _Form:
    """How a journal reads lines of the log."""

    newest = LINE_FORMAT

    def read(self, line: bytes) -> Record | None:
        return Record.read(line + b"\n")

    def follows(self, record: Record, last: Record | None) -> bool:
        due = (last.sequence + 1, last.hash) if last else (1, NO_LINE)
        return (record.sequence, record.before) == due


class Audit:
    """The log at `path`. Safe between threads and processes: an append reads the end of the file, under a lock."""

    def __init__(self, path: Path) -> None:
        self._path, self._journal = path, Journal(path, _Form(), self._unusable)
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
        with self._journal.writing() as file:
            last, unfinished = self._end(file)
            if unfinished:
                self._journal.take_away(file, unfinished)
                last = self._add(file, last, Repaired(len(unfinished)))
            self._written = self._add(file, last, event)

    def verify(self, remembered: str | None = None) -> Verdict:
        """Read the whole chain. With the hash of a head that was kept elsewhere, a cut end is found too."""
        lines, unfinished = self._lines()
        last, found = None, remembered in (None, NO_LINE)
        broken: Break | None = None
        for item in self._chain(lines, unfinished):
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
        for item in self._chain(*self._lines()):
            if isinstance(item, Break):
                raise AuditError(f"{self._path}, {item}.")
            yield item

    def readable(self, *kinds: type[Event]) -> Iterator[Event]:
        """All events of these kinds whose line is as it was written, oldest first, whatever became of other lines."""
        marks = [f'"event":"{kind.__name__}"'.encode() for kind in kinds]
        for line in self._lines()[0]:
            if any(mark in line for mark in marks) and (record := _Form().read(line)) is not None:
                yield record.event

    def _unusable(self, problem: OSError) -> AuditError:
        return AuditError(
            f"{self._path}: cannot be read or written ({problem.strerror}). "
            "Make room on the disk, or mend the permissions of the file and its folder."
        )

    def _lines(self) -> tuple[list[bytes], bytes]:
        """All finished lines, without their line feeds, and what follows them. A log that was not begun has none."""
        *lines, unfinished = self._journal.content().split(b"\n")
        return lines, unfinished

    def _chain(self, lines: Sequence[bytes], unfinished: bytes) -> Iterator[Record | Break]:
        """The records of the lines; and a Break in place of the first that is not what has to stand there."""
        last: Record | None = None
        try:
            for record in self._journal.chain(lines):
                yield record
                last = record
        except BrokenError as found:
            yield _break(found, lines)
            return
        if not _is_beginning(unfinished, last):
            yield Break(len(lines) + 1, "changed")

    def _end(self, file: int) -> tuple[Record | None, bytes]:
        """The last record, and an unfinished line after it."""
        last, unfinished, broken = None, b"", False
        try:
            last, unfinished = self._journal.end(file, LINE_BYTES)
        except BrokenError as found:
            if found.format:
                raise AuditError(f"{self._path}: its last line {_BREAKS['newer']}.") from None
            broken = True
        if broken or not _is_beginning(unfinished, last):
            raise AuditError(
                f"{self._path}: its end is not as it was written, so nothing is added. Find out what changed the file; "
                "moving it away starts a new log."
            )
        mine, count = self._written, last.sequence if last else 0
        if mine and (count < mine.sequence or (count == mine.sequence and last != mine)):
            raise AuditError(f"{self._path}: lines that this process wrote are gone, so nothing is added.")
        return last, unfinished

    def _add(self, file: int, last: Record | None, event: Event) -> Record:
        record = Record.after(last, event)
        self._journal.add(file, record.line)
        return record


def _is_beginning(unfinished: bytes, last: Record | None) -> bool:
    """Whether a kill can have left this of the line after `last`: its first bytes, at most all but the line feed."""
    start = b'{"sequence":%d,"time":"' % (last.sequence + 1 if last else 1)
    return start.startswith(unfinished[: len(start)]) and b"}" not in unfinished[:-1] and len(unfinished) < LINE_BYTES


def _break(found: BrokenError, lines: Sequence[bytes]) -> Break:
    record = _Form().read(found.line)
    if record is None:
        return Break(found.number, "newer" if found.format else "changed")
    return _misplaced(record, found.number, lines[found.number :])


def _misplaced(record: Record, due: int, rest: Sequence[bytes]) -> Break:
    """What happened where line `due` has to be, and a whole line stands that does not follow the one before."""
    if due == 1:
        return Break(due, "first")
    if record.sequence == due:
        return Break(due, "changed")
    later = map(_Form().read, rest)
    out_of_order = record.sequence < due or any(other.sequence == due for other in later if other)
    return Break(due, "order" if out_of_order else "missing")
