"""Receipts: what left this site and when, read from its audit log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from common.disk.audit import Record, Refused, Sent, Spent


@dataclass(frozen=True)
class Receipt:
    """Answers of one kind to one study on one day of local time: how many, their bytes, the first and the last."""

    day: date
    study: str
    kind: str
    answers: int
    bytes: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Receipts:
    """`epsilon`: the largest of any patient, as last written in these days; None where nothing was spent."""

    lines: tuple[Receipt, ...]
    refusals: int
    epsilon: float | None

    @property
    def bytes(self) -> int:
        return sum(line.bytes for line in self.lines)


def receipts(records: Iterable[Record], since: date | None = None) -> Receipts:
    """Receipts from the start of a day of local time on, or all. Raises what reading the records raises."""
    lines: dict[tuple[date, str, str], Receipt] = {}
    refusals, spent = 0, dict[str, float]()
    for record in records:
        at = record.time.astimezone()
        if since is not None and at.date() < since:
            continue
        if isinstance(record.event, Refused):
            refusals += 1
        elif isinstance(record.event, Spent):
            spent[record.event.account] = record.event.epsilon
        elif isinstance(record.event, Sent):
            key = at.date(), record.event.study, record.event.request.removesuffix("Request").lower()
            lines[key] = _added(lines.get(key), key, record.event.bytes, at)
    return Receipts(tuple(lines[key] for key in sorted(lines)), refusals, max(spent.values(), default=None))


def _added(line: Receipt | None, key: tuple[date, str, str], size: int, at: datetime) -> Receipt:
    if line is None:
        return Receipt(*key, 1, size, at, at)
    return Receipt(*key, line.answers + 1, line.bytes + size, line.first, at)
