"""Audit logs for tests: every kind of event, a log of six of them, and what a log looks like once it was changed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

from hypothesis import strategies as st

from common.disk.audit import (
    Admitted,
    AllowedSet,
    Approved,
    Audit,
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
    Verdict,
    Withdrew,
)
from common.errors import PUBLIC_CODES
from common.messages import MESSAGE_TYPES

STUDY, RUN = "5a" * 32, "0123456789abcdef"
NAME = "Anna Novak"  # a patient
LARGEST = 2**63 - 1

KINDS: tuple[type[Event], ...] = get_args(Event)
EXAMPLES: tuple[Event, ...] = (
    Started("0.1.0"),
    Joined(STUDY, RUN, 1),
    Offered(STUDY, RUN, 1),
    Masked(STUDY, RUN, 1, 0, 4096),
    SentUnmasked(STUDY, RUN, 1, 0, 4096),
    Confirmed(STUDY, RUN, 1, 4),
    Revealed(STUDY, RUN, 1, 4, 512),
    Spent(STUDY, RUN, 1, "training", 0.25),
    LedgerAccepted(3, 17),
    SumsAccepted(2),
    SumsAccepted(2, 40),
    CutsKept(40),
    LeftOut(2, "cd" * 32),
    OptOutsAccepted(1, "cd" * 32),
    Failed(STUDY, RUN, 1, "training", "RuntimeError", "forward", 17),
    Refused("ConfirmRequest", "too_few_sites"),
    Refused("unreadable", "error", 3),
    Repaired(17),
    Sent(STUDY, "RoundRequest", 4096),
    Approved(STUDY),
    Paused(STUDY),
    Resumed(STUDY),
    Withdrew(STUDY),
    AllowedSet(5),
    Purged(STUDY, 3),
    Expired(2),
    Admitted("ab" * 32, 4),
    Removed("ab" * 32, 3),
    Began(STUDY, RUN, 4),
    Summed(STUDY, RUN, 1, 3, 1, 4096),
    Ended(STUDY, RUN, "completed"),
)
COUNTS = ("number", "round", "bytes", "survivors", "entries", "sites", "dropped", "line", "held")
TAKEN: dict[str, st.SearchStrategy[Any]] = {
    "study": st.binary(min_size=32, max_size=32).map(bytes.hex),
    "run": st.binary(min_size=8, max_size=8).map(bytes.hex),
    **dict.fromkeys(COUNTS, st.integers(0, LARGEST)),
    **dict.fromkeys(("key", "digest"), st.binary(min_size=32, max_size=32).map(bytes.hex)),
    "outcome": st.sampled_from(["completed", "stopped", "failed"]),
    "account": st.sampled_from(["training", "validation", "test", "held_out"]),
    "part": st.sampled_from(["statistics", "scores", "training"]),
    "error": st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,59}", fullmatch=True),
    "place": st.from_regex("[A-Za-z_<][A-Za-z0-9_<>]{0,59}", fullmatch=True),
    "epsilon": st.floats(0, 1.7e308),
    "request": st.sampled_from([*sorted(kind.__name__ for kind in MESSAGE_TYPES), "unreadable"]),
    "code": st.sampled_from(sorted(PUBLIC_CODES)),
    "version": st.sampled_from(["0.1.0", "12.34.567", "1.0.0rc1"]),
}
EVENTS: st.SearchStrategy[Event] = st.one_of(
    [st.builds(kind, **{field.name: TAKEN[field.name] for field in dataclasses.fields(kind)}) for kind in KINDS]
)
SIX: tuple[Event, ...] = (
    Started("0.1.0"),
    Joined(STUDY, RUN, 1),
    Offered(STUDY, RUN, 1),
    Masked(STUDY, RUN, 1, 0, 4096),
    Refused("ConfirmRequest", "too_few_sites", 1),
    Spent(STUDY, RUN, 1, "training", 0.25),
)


def verdict_on(path: Path, *lines: bytes) -> Verdict:
    """On a log that consists of these lines now."""
    path.write_bytes(b"".join(lines))
    return Audit(path).verify()


def events(path: Path) -> list[Event]:
    return [record.event for record in Audit(path).events()]


def numbers(path: Path) -> list[int]:
    """Of the offers on record."""
    return [event.number for event in events(path) if isinstance(event, Offered)]


def add(told: Any, path: Path, first: int, last: int) -> None:
    """Put offers of these numbers on record and tell each number, as the work of a process."""
    audit = Audit(path)
    for number in range(first, last):
        audit.append(Offered(STUDY, RUN, number))
        told.send(number)
