"""A log that is broken: it is read up to the break, it is never repaired, and nothing is added behind a broken end."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.disk.audit import Audit, Break, Started
from common.errors import AuditError
from tests.support.audit import verdict_on


def test_receipts_stop_where_the_chain_is_broken(path: Path, six: list[bytes]) -> None:
    verdict_on(path, *six[:3], *six[4:])
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
