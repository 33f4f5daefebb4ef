"""What an append leaves on the disk: who may read it, its form, its size, and what reads it again."""

from __future__ import annotations

import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.disk.audit import (
    Audit,
    Break,
    Event,
    LedgerAccepted,
    Offered,
    Record,
    Refused,
    Started,
    SumsAccepted,
    Verdict,
)
from common.disk.audit_events import LINE_BYTES, NO_LINE
from common.errors import AuditError
from tests.support.audit import EVENTS, LARGEST, RUN, STUDY


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENTS, max_size=6))
def test_what_was_added_is_read_again(path: Path, events: list[Event]) -> None:
    path.unlink(missing_ok=True)
    for event in events:
        Audit(path).append(event)
    records = list(Audit(path).events())
    assert [record.event for record in records] == events
    assert [record.sequence for record in records] == list(range(1, len(events) + 1))
    heads = [NO_LINE, *(record.hash for record in records)]
    assert [record.before for record in records] == heads[:-1]
    assert Audit(path).verify() == Verdict(len(events), heads[-1])
    assert all(Audit(path).verify(remembered=head).broken is None for head in heads)


def test_the_form_of_a_line_stays_as_it_is() -> None:
    """As release 0.1 wrote it; and as a line is written since, with its format."""
    record = Record(
        7, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), Refused("RoundRequest", "budget"), "ab" * 32, format=0
    )
    assert record.line == (
        b'{"sequence":7,"time":"2026-03-04T05:06:07Z","event":"Refused","request":"RoundRequest","code":"budget",'
        b'"number":null,"before":"' + b"ab" * 32 + b'","hash":"' + record.hash.encode() + b'"}\n'
    )
    assert record.hash == "731d9bf1e3b959692444f7246c845320cfa0fa107cbebf5a0db1615699479e43"
    assert Record.read(record.line) == record
    today = Record(record.sequence, record.time, record.event, record.before)
    assert today.line == record.line.replace(b'"event":"Refused"', b'"event":"Refused","format":1').replace(
        record.hash.encode(), today.hash.encode()
    )
    assert Record.read(today.line) == today


@pytest.mark.parametrize("kind", [LedgerAccepted, SumsAccepted])
def test_a_field_that_came_later_is_in_no_line_while_it_holds_nothing(kind) -> None:
    """So a line of before is read as it was written, and keeps its hash; and no line has two forms."""
    time = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    before, since = (Record(7, time, kind(3, held), "ab" * 32) for held in (0, 5))
    assert b'"entries":3,"before"' in before.line and b'"entries":3,"held":5,"before"' in since.line
    assert Record.read(before.line) == before and Record.read(since.line) == since
    longer = before.line.replace(b'"entries":3,', b'"entries":3,"held":0,')
    assert Record.read(longer) is None


@settings(max_examples=200, deadline=None)
@given(event=EVENTS)
def test_no_line_is_longer_than_the_end_that_is_read(event: Event) -> None:
    largest = Record(LARGEST, datetime(9999, 12, 31, tzinfo=UTC), event, "f" * 64)
    assert len(largest.line) <= LINE_BYTES
    assert Record.read(largest.line) == largest


def test_time_is_told_in_utc_seconds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        before = int(time.time())
        Audit(path).append(Started("0.1.0"))
        (record,) = Audit(path).events()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert before <= record.time.timestamp() <= time.time() and record.time.tzinfo is UTC


def test_only_the_owner_may_read_it(path: Path) -> None:
    before = os.umask(0)
    try:
        Audit(path).append(Started("0.1.0"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        path.chmod(0o644)
        Audit(path).append(Started("0.1.0"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="cannot be read or written"):
        Audit(path).append(Started("0.1.0"))
    assert not (tmp_path / "elsewhere").exists()


def test_a_log_that_was_not_begun(path: Path) -> None:
    assert Audit(path).verify() == Verdict(0, NO_LINE) and list(Audit(path).events()) == []
    assert Audit(path).verify(remembered="ab" * 32).broken == Break(1, "cut")
    assert not path.parent.exists()


def test_an_append_reads_no_more_of_a_long_log(path: Path, six: list[bytes]) -> None:
    counters = Path("/proc/self/io")
    if not counters.exists():
        pytest.skip("this system does not count the bytes that a process reads")

    def cost() -> int:
        started = read_bytes(counters)
        Audit(path).append(Started("0.1.0"))
        return read_bytes(counters) - started

    short = cost()
    record = list(Audit(path).events())[-1]
    with path.open("ab") as file:
        for _ in range(5000):
            record = Record.after(record, Offered(STUDY, RUN, 1))
            file.write(record.line)
    assert path.stat().st_size > 1_000_000
    assert cost() <= short + 2 * LINE_BYTES
    assert Audit(path).verify().count == 5008


def read_bytes(counters: Path) -> int:
    return int(counters.read_text().split()[1])


def test_a_folder_in_its_place_is_told(path: Path) -> None:
    path.mkdir(parents=True)
    for use in (lambda: Audit(path).append(Started("0.1.0")), lambda: Audit(path).verify()):
        with pytest.raises(AuditError, match="cannot be read or written"):
            use()
