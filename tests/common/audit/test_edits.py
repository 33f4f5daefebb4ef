"""Someone with an editor: a byte, a line, an order that was changed is found, and where."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest

from common.disk.audit import Audit, Break, Offered, Record, Started
from tests.support.audit import RUN, STUDY, verdict_on

FOREIGN = (b"", b"{}", b"null", b"[]", b'"x"', b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b'{"sequence":1}', b"\0" * 300)


def first_difference(old: list[bytes], new: list[bytes], kind: Any) -> Break:
    """Of this kind, at the first line that differs."""
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    return Break(same + 1, kind if same else "first")


@pytest.mark.parametrize("others", [(), pytest.param((0, 10, 32, 125), marks=pytest.mark.soak)], ids=["bit", "more"])
def test_every_changed_byte_is_found_in_its_line(path: Path, six: list[bytes], others: Sequence[int]) -> None:
    whole, at = b"".join(six), 0
    for number, line in enumerate(six, start=1):
        for place in range(at, at + len(line)):
            old = whole[place]
            for new in {old ^ 1, *others} - {old}:
                verdict = verdict_on(path, whole[:place], bytes([new]), whole[place + 1 :])
                assert verdict.broken == Break(number, "changed"), (place, new)
                assert verdict.count == number - 1 and verdict.unfinished == 0
        at += len(line)


@pytest.mark.parametrize("place", range(5))
def test_a_deleted_line_is_found(path: Path, six: list[bytes], place: int) -> None:
    rest = six[:place] + six[place + 1 :]
    assert verdict_on(path, *rest).broken == first_difference(six, rest, "missing")


def test_a_deleted_end_is_found_by_who_remembers_the_head(path: Path, six: list[bytes]) -> None:
    """Nothing in the file itself can tell."""
    assert verdict_on(path, *six[:-1]).broken is None
    assert Audit(path).verify(remembered=json.loads(six[-1])["hash"]).broken == Break(6, "cut")


def test_several_deleted_lines_are_found_at_the_first(path: Path, six: list[bytes]) -> None:
    assert verdict_on(path, six[0], six[1], six[4], six[5]).broken == Break(3, "missing")
    assert verdict_on(path, six[0], six[2], six[4]).broken == Break(2, "missing")
    assert verdict_on(path, six[5]).broken == Break(1, "first")


@pytest.mark.parametrize(("one", "other"), combinations(range(6), 2))
def test_swapped_lines_are_found(path: Path, six: list[bytes], one: int, other: int) -> None:
    swapped = list(six)
    swapped[one], swapped[other] = six[other], six[one]
    assert verdict_on(path, *swapped).broken == first_difference(six, swapped, "order")


@pytest.mark.parametrize(("line", "place"), product(range(6), range(7)))
def test_a_line_that_stands_twice_is_found(path: Path, six: list[bytes], line: int, place: int) -> None:
    twice = [*six[:place], six[line], *six[place:]]
    assert verdict_on(path, *twice).broken == first_difference(six, twice, "order")


@pytest.mark.parametrize("place", range(7))
def test_an_inserted_line_is_found(path: Path, six: list[bytes], place: int) -> None:
    for foreign in FOREIGN:
        verdict = verdict_on(path, *six[:place], foreign + b"\n", *six[place:])
        assert verdict.broken == Break(place + 1, "changed")
    made_up = Record(place + 1, datetime.now(UTC), Started("6.6.6"), "ab" * 32).line
    verdict = verdict_on(path, *six[:place], made_up, *six[place:])
    assert verdict.broken == Break(place + 1, "changed" if place else "first")


@pytest.mark.parametrize("place", range(6))
def test_an_inserted_line_that_follows_the_one_before_is_found_by_the_next(
    path: Path, six: list[bytes], place: int
) -> None:
    before = Record.read(six[place - 1]) if place else None
    follows = Record.after(before, Started("6.6.6")).line
    assert verdict_on(path, *six[:place], follows, *six[place:]).broken == Break(place + 2, "order")
    assert verdict_on(path, *six[:place], follows).broken is None, "at the end it is an append like any other"


def test_a_line_written_anew_with_its_hash_is_found_by_the_next(path: Path, six: list[bytes]) -> None:
    forged = dataclasses.replace(Record.read(six[2]), event=Offered(STUDY, RUN, 99))
    assert verdict_on(path, *six[:2], forged.line, *six[3:]).broken == Break(4, "changed")
