"""Someone who knows the format: other spellings, right hashes over wrong events, and chains written all anew."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.disk.audit import Audit, Break, Started
from common.disk.audit_events import NO_LINE
from tests.support.audit import NAME, verdict_on

SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "a leading zero": lambda line: line.replace(b'"number":1', b'"number":01'),
    "a float": lambda line: line.replace(b'"number":1', b'"number":1.0'),
    "a space": lambda line: line.replace(b'"number":1', b'"number": 1'),
    "a name twice": lambda line: line.replace(b'"number":1', b'"number":2,"number":1'),
    "an escape": lambda line: line.replace(b'"number"', b'"n\\u0075mber"'),
    "a number as text": lambda line: line.replace(b'"sequence":2', b'"sequence":"2"'),
    "a number as truth": lambda line: line.replace(b'"sequence":2', b'"sequence":true'),
    "another zone": lambda line: line.replace(b"Z", b"+00:00"),
    "a field more": lambda line: line.replace(b"}\n", b',"text":"%s"}\n' % NAME.encode()),
    "a carriage return": lambda line: line.replace(b"}\n", b"}\r\n"),
    "a space before it": lambda line: b" " + line,
    "a byte order mark": lambda line: b"\xef\xbb\xbf" + line,
}
IMPOSSIBLE: tuple[dict[str, Any], ...] = (
    {"sequence": "5"}, {"sequence": True}, {"sequence": 5.0}, {"sequence": None}, {"sequence": [5]},
    {"before": 5}, {"before": None}, {"time": 1772600000}, {"time": "today"}, {"time": "2026-03-04"},
    {"time": "2026-03-04T05:06:07.5Z"}, {"event": "Remark"}, {"event": []}, {"event": None}, {"text": NAME},
    {"code": NAME}, {"request": NAME}, {"number": NAME}, {"number": float("inf")}, {"code": {"text": NAME}},
)  # fmt: skip


def seal(line: bytes, **changed: Any) -> bytes:
    """The line with other values, and the hash that goes with them: what someone who knows the format can make."""
    values = {**json.loads(line), **changed}
    del values["hash"]
    text = json.dumps(values, separators=(",", ":"))
    digest = hashlib.sha256(b"wardround audit line 1\0" + text.encode()).hexdigest()
    return f'{text[:-1]},"hash":"{digest}"}}\n'.encode()


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_the_same_is_a_change(path: Path, six: list[bytes], spelling: str) -> None:
    spelt = SPELLINGS[spelling](six[1])
    assert spelt != six[1]
    assert verdict_on(path, six[0], spelt, *six[2:]).broken == Break(2, "changed")


@pytest.mark.parametrize("changed", IMPOSSIBLE, ids=json.dumps)
def test_what_no_event_can_say_is_found_though_its_hash_is_right(
    path: Path, six: list[bytes], changed: dict[str, Any]
) -> None:
    assert seal(six[4]) == six[4]
    for rest in (six[5:], []):
        verdict = verdict_on(path, *six[:4], seal(six[4], **changed), *rest)
        assert verdict.broken == Break(5, "changed") and NAME not in str(verdict)


def test_a_first_line_whose_number_is_truth_is_found_though_its_hash_is_right(path: Path, six: list[bytes]) -> None:
    """True == 1."""
    assert verdict_on(path, seal(six[0], sequence=True)).broken == Break(1, "changed")


def test_who_owns_the_machine_can_write_all_anew_but_not_the_remembered_head(path: Path, six: list[bytes]) -> None:
    remembered = [NO_LINE, *(json.loads(line)["hash"] for line in six)]
    path.unlink()
    for _ in six:
        Audit(path).append(Started("6.6.6"))
    assert Audit(path).verify().broken is None
    assert [Audit(path).verify(head).broken for head in remembered] == [None] + [Break(7, "cut")] * 6
