"""The audit log as a site's steward, a crash, and someone with an editor meet it."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.audit import (
    Admitted,
    Approved,
    Audit,
    Began,
    Break,
    Confirmed,
    Ended,
    Event,
    Expired,
    Joined,
    Masked,
    Offered,
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
    Verdict,
    Withdrew,
)
from common.audit_events import LINE_BYTES, NO_LINE, REQUEST_KINDS
from common.errors import PUBLIC_CODES, AuditError, BudgetError
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
    Refused("ConfirmRequest", "too_few_sites"),
    Refused("unreadable", "error", 3),
    Repaired(17),
    Sent(STUDY, "RoundRequest", 4096),
    Approved(STUDY),
    Paused(STUDY),
    Resumed(STUDY),
    Withdrew(STUDY),
    Purged(STUDY, 3),
    Expired(2),
    Admitted("ab" * 32, 4),
    Removed("ab" * 32, 3),
    Began(STUDY, RUN, 4),
    Summed(STUDY, RUN, 1, 3, 1, 4096),
    Ended(STUDY, RUN, "completed"),
)
TAKEN: dict[str, st.SearchStrategy[Any]] = {
    "study": st.binary(min_size=32, max_size=32).map(bytes.hex),
    "run": st.binary(min_size=8, max_size=8).map(bytes.hex),
    **dict.fromkeys(("number", "round", "bytes", "survivors", "entries", "sites", "dropped"), st.integers(0, LARGEST)),
    "key": st.binary(min_size=32, max_size=32).map(bytes.hex),
    "outcome": st.sampled_from(["completed", "stopped", "failed"]),
    "account": st.sampled_from(["training", "held_out"]),
    "epsilon": st.floats(0, 1.7e308),
    "request": st.sampled_from([*sorted(kind.__name__ for kind in MESSAGE_TYPES), "unreadable"]),
    "code": st.sampled_from(sorted(PUBLIC_CODES)),
    "version": st.sampled_from(["0.1.0", "12.34.567", "1.0.0rc1"]),
}
EVENTS: st.SearchStrategy[Event] = st.one_of(
    [st.builds(kind, **{field.name: TAKEN[field.name] for field in dataclasses.fields(kind)}) for kind in KINDS]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


@pytest.fixture
def six(path: Path) -> list[bytes]:
    """The lines of a log of six events, on disk at `path`."""
    audit = Audit(path)
    for event in (
        Started("0.1.0"),
        Joined(STUDY, RUN, 1),
        Offered(STUDY, RUN, 1),
        Masked(STUDY, RUN, 1, 0, 4096),
        Refused("ConfirmRequest", "too_few_sites", 1),
        Spent(STUDY, RUN, 1, "training", 0.25),
    ):
        audit.append(event)
    return path.read_bytes().splitlines(keepends=True)


def written(path: Path, content: bytes) -> Verdict:
    path.write_bytes(content)
    return Audit(path).verify()


def sealed(path: Path) -> list[str]:
    return [json.loads(line)["hash"] for line in path.read_bytes().splitlines()]


def start(work: Callable[..., None], *arguments: Any) -> tuple[Any, Any]:
    """A real process doing `work(told, ...)`, and the end of the pipe on which it tells."""
    context = multiprocessing.get_context("fork")
    mine, told = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(told, *arguments), daemon=True)
    process.start()
    told.close()
    return process, mine


def all_told(mine: Any) -> Iterator[Any]:
    with contextlib.suppress(EOFError):
        while True:
            yield mine.recv()


# ------------------------------------------------------------------------------------------- what is written, and read


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
    record = Record(7, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), Refused("RoundRequest", "budget"), "ab" * 32)
    assert record.line == (
        b'{"sequence":7,"time":"2026-03-04T05:06:07Z","event":"Refused","request":"RoundRequest","code":"budget",'
        b'"number":null,"before":"' + b"ab" * 32 + b'","hash":"' + record.hash.encode() + b'"}\n'
    )
    assert record.hash == "731d9bf1e3b959692444f7246c845320cfa0fa107cbebf5a0db1615699479e43"
    assert Record.read(record.line) == record


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


# ------------------------------------------------------------------------------------------------------- no free text


def test_the_requests_are_those_of_the_wire() -> None:
    assert {kind.__name__ for kind in MESSAGE_TYPES} == REQUEST_KINDS


REFUSED: dict[str, list[Any]] = {
    "study": ["", NAME, STUDY[:-1], STUDY + "\n", STUDY.upper(), "g" * 64, bytes(32), None],
    "run": ["", NAME, "demo", RUN + "\n", RUN + "0", "0123456789abcdeF", "٠" * 16, None],
    **{
        name: [-1, 2**63, True, 1.0, "1", NAME]
        for name in ("number", "round", "bytes", "survivors", "entries", "sites", "dropped")
    },
    "key": ["", NAME, STUDY[:-1], STUDY + "\n", STUDY.upper(), bytes(32), None],
    "outcome": ["", NAME, "Completed", "failed: " + NAME, None],
    "account": ["", NAME, "validation", None, ["training"]],
    "epsilon": [-0.1, float("nan"), float("inf"), 1, "1.0", NAME, None],
    "request": ["", NAME, "RoundReply", "Refusal", "RoundRequest ", None, ["RoundRequest"]],
    "code": ["", NAME, "error: " + NAME, "BUDGET", "budget\n", None, {"code": "budget"}],
    "version": ["", NAME, "1", "1956.03.12", "12.03.1956", "1.0.0 " + NAME, "1.0.0+local", None],
}


class Text(str):
    """Equal to a word of the list, but carries more."""


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_no_field_takes_text_or_another_type(event: Event) -> None:
    for field in dataclasses.fields(event):
        present = getattr(event, field.name)
        subtypes = [Text(present)] if isinstance(present, str) else []
        for value in [*REFUSED[field.name], *subtypes, object()]:
            with pytest.raises(AuditError, match=rf"^{type(event).__name__}\.{field.name}: ") as caught:
                dataclasses.replace(event, **{field.name: value})
            assert NAME not in str(caught.value)


def test_each_kind_was_tried() -> None:
    assert {type(event) for event in EXAMPLES} == set(KINDS)


def test_only_the_counts_that_may_be_unknown_may_be_none() -> None:
    assert Refused("unreadable", "error").number is None
    nothing: Any = None
    with pytest.raises(AuditError):
        Joined(STUDY, RUN, nothing)


@dataclasses.dataclass(frozen=True)
class Remark:
    text: str


@dataclasses.dataclass(frozen=True)
class JoinedToo(Joined):
    """Nothing but another class: nobody would read it again."""


@dataclasses.dataclass(frozen=True)
class JoinedWithRemark(Joined):
    text: str


def test_nothing_but_the_events_goes_in(path: Path) -> None:
    foreign: Any
    for foreign in (NAME, {"text": NAME}, Remark(NAME), JoinedToo(STUDY, RUN, 1), BudgetError(NAME), None, Joined):
        with pytest.raises(AuditError) as caught:
            Audit(path).append(foreign)
        assert NAME not in str(caught.value)
    with pytest.raises(AuditError):
        JoinedWithRemark(STUDY, RUN, 1, NAME)
    assert not path.exists()


# --------------------------------------------------------------------------------------------------- what was changed


def test_every_changed_byte_is_found_in_its_line(path: Path, six: list[bytes]) -> None:
    whole, at = b"".join(six), 0
    for number, line in enumerate(six, start=1):
        for place in range(at, at + len(line)):
            old = whole[place]
            for new in {old ^ 1, old ^ 32, 0, 10, 125} - {old}:
                verdict = written(path, whole[:place] + bytes([new]) + whole[place + 1 :])
                assert verdict.broken == Break(number, "changed"), (place, new)
                assert verdict.count == number - 1 and verdict.unfinished == 0
        at += len(line)


def expected(old: list[bytes], new: list[bytes], kind: Any) -> Break:
    """At the first line that differs."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return Break(same + 1, kind if same else "first")


@pytest.mark.parametrize("place", range(6))
def test_a_deleted_line_is_found(path: Path, six: list[bytes], place: int) -> None:
    head = sealed(path)[-1]
    rest = six[:place] + six[place + 1 :]
    written(path, b"".join(rest))
    if place == 5:  # nothing in the file can tell
        assert Audit(path).verify().broken is None
        assert Audit(path).verify(remembered=head).broken == Break(6, "cut")
    else:
        assert Audit(path).verify().broken == expected(six, rest, "missing")


def test_several_deleted_lines_are_found_at_the_first(path: Path, six: list[bytes]) -> None:
    assert written(path, b"".join([six[0], six[1], six[4], six[5]])).broken == Break(3, "missing")
    assert written(path, b"".join([six[0], six[2], six[4]])).broken == Break(2, "missing")
    assert written(path, six[5]).broken == Break(1, "first")


@pytest.mark.parametrize(("one", "other"), [(i, j) for i in range(6) for j in range(i + 1, 6)])
def test_swapped_lines_are_found(path: Path, six: list[bytes], one: int, other: int) -> None:
    swapped = list(six)
    swapped[one], swapped[other] = six[other], six[one]
    assert written(path, b"".join(swapped)).broken == expected(six, swapped, "order")


@pytest.mark.parametrize(("line", "place"), [(i, j) for i in range(6) for j in range(7)])
def test_a_line_that_stands_twice_is_found(path: Path, six: list[bytes], line: int, place: int) -> None:
    twice = [*six[:place], six[line], *six[place:]]
    assert written(path, b"".join(twice)).broken == expected(six, twice, "order")


FOREIGN = (b"", b"{}", b"null", b"[]", b'"x"', b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b'{"sequence":1}', b"\0" * 300)


@pytest.mark.parametrize("place", range(7))
def test_an_inserted_line_is_found(path: Path, six: list[bytes], place: int) -> None:
    for foreign in FOREIGN:
        inserted = [*six[:place], foreign + b"\n", *six[place:]]
        assert written(path, b"".join(inserted)).broken == Break(place + 1, "changed")
    records = [Record.read(line) for line in six]
    made_up = Record(place + 1, datetime.now(UTC), Started("6.6.6"), "ab" * 32).line
    assert written(path, b"".join([*six[:place], made_up, *six[place:]])).broken == expected(
        six, [*six[:place], made_up], "changed"
    )
    follows = Record.after(records[place - 1] if place else None, Started("6.6.6")).line
    verdict = written(path, b"".join([*six[:place], follows, *six[place:]]))
    assert verdict.broken == (Break(place + 2, "order") if place < 6 else None)  # at the end: an append


def test_a_line_written_anew_with_its_hash_is_found_by_the_next(path: Path, six: list[bytes]) -> None:
    record = list(Audit(path).events())[2]
    forged = dataclasses.replace(record, event=Offered(STUDY, RUN, 99))
    assert written(path, b"".join([*six[:2], forged.line, *six[3:]])).broken == Break(4, "changed")


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b'"number":1', b'"number":01'),
        lambda line: line.replace(b'"number":1', b'"number":1.0'),
        lambda line: line.replace(b'"number":1', b'"number": 1'),
        lambda line: line.replace(b'"number":1', b'"number":2,"number":1'),
        lambda line: line.replace(b'"number"', b'"n\\u0075mber"'),
        lambda line: line.replace(b'"sequence":2', b'"sequence":"2"'),
        lambda line: line.replace(b'"sequence":2', b'"sequence":true'),
        lambda line: line.replace(b"Z", b"+00:00"),
        lambda line: line.replace(b"}\n", b',"text":"%s"}\n' % NAME.encode()),
        lambda line: line.replace(b"}\n", b"}\r\n"),
        lambda line: b" " + line,
        lambda line: b"\xef\xbb\xbf" + line,
    ],
)
def test_another_spelling_of_the_same_is_a_change(
    path: Path, six: list[bytes], change: Callable[[bytes], bytes]
) -> None:
    assert change(six[1]) != six[1]
    assert written(path, b"".join([six[0], change(six[1]), *six[2:]])).broken == Break(2, "changed")


def seal(line: bytes, **changed: Any) -> bytes:
    """The line with other values, and the hash that goes with them: what someone who knows the format can make."""
    values = {**json.loads(line), **changed}
    del values["hash"]
    text = json.dumps(values, separators=(",", ":"))
    digest = hashlib.sha256(b"wardround audit line 1\0" + text.encode()).hexdigest()
    return f'{text[:-1]},"hash":"{digest}"}}\n'.encode()


@pytest.mark.parametrize(
    "changed",
    [
        {"sequence": "5"}, {"sequence": True}, {"sequence": 5.0}, {"sequence": None}, {"sequence": [5]},
        {"before": 5}, {"before": None}, {"time": 1772600000}, {"time": "today"}, {"time": "2026-03-04"},
        {"time": "2026-03-04T05:06:07.5Z"}, {"event": "Remark"}, {"event": []}, {"event": None}, {"text": NAME},
        {"code": NAME}, {"request": NAME}, {"number": NAME}, {"number": float("inf")}, {"code": {"text": NAME}},
    ],
)  # fmt: skip
def test_what_no_event_can_say_is_found_though_its_hash_is_right(
    path: Path, six: list[bytes], changed: dict[str, Any]
) -> None:
    assert seal(six[4]) == six[4]
    for rest in (six[5:], []):
        verdict = written(path, b"".join([*six[:4], seal(six[4], **changed), *rest]))
        assert verdict.broken == Break(5, "changed") and NAME not in str(verdict)
    assert written(path, seal(six[0], sequence=True)).broken == Break(1, "changed")


def test_who_owns_the_machine_can_write_all_anew_but_not_the_remembered_head(path: Path, six: list[bytes]) -> None:
    remembered = [NO_LINE, *sealed(path)]
    path.unlink()
    for _ in six:
        Audit(path).append(Started("6.6.6"))
    assert Audit(path).verify().broken is None
    assert [Audit(path).verify(head).broken for head in remembered] == [None] + [Break(7, "cut")] * 6


def test_receipts_stop_where_the_chain_is_broken(path: Path, six: list[bytes]) -> None:
    written(path, b"".join([*six[:3], *six[4:]]))
    events = Audit(path).events()
    assert [next(events).sequence for _ in range(3)] == [1, 2, 3]
    with pytest.raises(AuditError, match=r"audit\.jsonl, line 4: one or more lines are missing here"):
        next(events)


def test_a_break_is_never_repaired(path: Path, six: list[bytes]) -> None:
    broken = b"".join([six[0], six[1].replace(b"1", b"2", 1), *six[2:]])
    path.write_bytes(broken)
    Audit(path).append(Started("0.1.0"))  # an append does not read the beginning
    assert path.read_bytes().startswith(broken)
    assert Audit(path).verify().broken == Break(2, "changed")


def test_nothing_is_added_behind_a_broken_end(path: Path, six: list[bytes]) -> None:
    whole, last = b"".join(six[:-1]), six[-1]
    ends = [last[:at] + bytes([last[at] ^ 1]) + last[at + 1 :] for at in range(len(last))]
    ends += [last + end for end in (b"\n", b"x", b"}", b"\0" * 50, b"\0" * 5000, b'{"sequence":6', b'{"sequence":77,')]
    ends += [last + b'{"sequence":7,"time":"' + b"2" * 2000, b"x" * 5000, b"[" * 900 + b"\n"]
    for end in ends:
        path.write_bytes(whole + end)
        with pytest.raises(AuditError, match="not as it was written, so nothing is added"):
            Audit(path).append(Started("0.1.0"))
        assert path.read_bytes() == whole + end
        assert Audit(path).verify().broken is not None


def test_a_process_notices_that_its_own_lines_are_gone(path: Path) -> None:
    audit = Audit(path)
    for _ in range(3):
        audit.append(Started("0.1.0"))
    lines = path.read_bytes().splitlines(keepends=True)
    for less in ([], lines[:1], lines[:2]):
        path.write_bytes(b"".join(less))
        with pytest.raises(AuditError, match="lines that this process wrote are gone"):
            audit.append(Started("0.1.0"))
    path.unlink()
    for _ in range(3):
        Audit(path).append(Started("6.6.6"))
    with pytest.raises(AuditError, match="are gone"):
        audit.append(Started("0.1.0"))


# ------------------------------------------------------------------------------- kills, a full disk, and two at once


def test_a_line_cut_off_at_any_byte_is_taken_away_and_told(path: Path, six: list[bytes]) -> None:
    whole, line = b"".join(six[:-1]), six[-1]
    head = json.loads(six[4])["hash"]
    for kept in range(1, len(line)):
        path.write_bytes(whole + line[:kept])
        assert Audit(path).verify(head) == Verdict(5, head, unfinished=kept)
        assert Audit(path).verify(json.loads(line)["hash"]).broken == Break(6, "cut")
        assert [record.sequence for record in Audit(path).events()] == [1, 2, 3, 4, 5]
        Audit(path).append(Started("0.1.0"))
        assert [record.event for record in Audit(path).events()][5:] == [Repaired(kept), Started("0.1.0")]
        assert Audit(path).verify(head).broken is None


def test_a_first_line_cut_off(path: Path, six: list[bytes]) -> None:
    path.write_bytes(six[0][:40])
    Audit(path).append(Started("0.1.0"))
    assert [record.event for record in Audit(path).events()] == [Repaired(40), Started("0.1.0")]


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
    assert list(all_told(mine)) == []
    process.join()
    assert process.exitcode == -signal.SIGKILL
    verdict = Audit(path).verify()
    assert verdict.count == 6 and verdict.unfinished > 50 and verdict.broken is None
    Audit(path).append(Joined(STUDY, RUN, 2))
    assert [record.event for record in Audit(path).events()][6:] == [
        Repaired(verdict.unfinished),
        Joined(STUDY, RUN, 2),
    ]


def add(told: Any, path: Path, first: int, last: int) -> None:
    audit = Audit(path)
    for number in range(first, last):
        audit.append(Offered(STUDY, RUN, number))
        told.send(number)


def numbers(path: Path) -> list[int]:
    return [record.event.number for record in Audit(path).events() if isinstance(record.event, Offered)]


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


def test_two_processes_at_once_make_one_chain(path: Path) -> None:
    both = [start(add, path, first, first + 200) for first in (0, 1000)]
    for process, mine in both:
        assert len(list(all_told(mine))) == 200
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


def test_it_is_on_the_disk_before_an_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: dict[int, int] = {}  # inode -> size when it was brought to the disk
    fsync = os.fsync

    def watched(file: int) -> None:
        fsync(file)
        synced[os.fstat(file).st_ino] = os.fstat(file).st_size

    monkeypatch.setattr(os, "fsync", watched)
    Audit(path).append(Started("0.1.0"))
    assert path.parent.stat().st_ino in synced  # the name of the new file
    Audit(path).append(Started("0.1.0"))
    assert synced[path.stat().st_ino] == path.stat().st_size


def test_what_the_disk_did_not_take_is_not_in_the_log(
    path: Path, six: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(AuditError, match="Input/output error"):
            Audit(path).append(Joined(STUDY, RUN, 2))
    assert path.read_bytes() == b"".join(six)
    assert Audit(path).verify().broken is None


def test_a_full_disk_is_told_and_leaves_the_log_whole(path: Path, six: list[bytes]) -> None:
    before, length = path.read_bytes(), len(Record.after(Record.read(six[-1]), Started("0.1.0")).line)

    def append(told: Any) -> None:
        for room in range(length):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, -1))
            try:
                Audit(path).append(Started("0.1.0"))
            except AuditError as error:
                told.send((str(error), path.read_bytes() == before))

    process, mine = start(append)
    refusals = list(all_told(mine))
    process.join()
    assert len(refusals) == length
    assert all("Make room on the disk" in text and same for text, same in refusals)
    Audit(path).append(Started("0.1.0"))
    assert Audit(path).verify().count == 7


def test_a_disk_that_is_full_in_a_repair_loses_the_unfinished_line_only(path: Path, six: list[bytes]) -> None:
    whole = b"".join(six)
    path.write_bytes(whole + b'{"sequence":7,"ti')

    def append(told: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, -1))
        try:
            Audit(path).append(Started("0.1.0"))
        except AuditError as error:
            told.send(str(error))

    process, mine = start(append)
    assert len(list(all_told(mine))) == 1
    process.join()
    assert path.read_bytes() == whole


def test_a_folder_in_its_place_is_told(path: Path) -> None:
    path.mkdir(parents=True)
    for use in (lambda: Audit(path).append(Started("0.1.0")), lambda: Audit(path).verify()):
        with pytest.raises(AuditError, match="cannot be read or written"):
            use()
