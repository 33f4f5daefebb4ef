"""Whether a patient is left out hangs on the list and on that patient alone: with privacy nobody else may decide it."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from tests.client.data.test_named import found
from tests.client.data.test_opt_outs import ward, write_list
from tests.support.hospital import study_of
from tests.support.scripted import PRIVATE

FIGURES = st.text("012", min_size=1, max_size=4)
# Numbers that have parts, zeros, exponents, days and look-alikes in common, and whatever else few signs make.
NUMBERS = st.one_of(
    st.lists(FIGURES, min_size=1, max_size=4).flatmap(lambda groups: st.sampled_from(["", "-", " ", "/", "."]).map(
        lambda between: between.join(groups))),
    st.tuples(st.sampled_from(["A", "\u0410", "SC-", "id", "e"]), FIGURES).map("".join),
    st.tuples(FIGURES, st.sampled_from(["e", "E+", ".1e"]), st.text("0123456789", min_size=1, max_size=2)).map("".join),
    st.text("1234567890", min_size=15, max_size=19),
    st.sampled_from(["3-05", "May-23", "05. Mrz", "2023-05", "MAR1", "1-Mar", "01.02.2003", "1-2-3"]),
    st.text("10.,-/ eE+A'②а\u200b", max_size=6),
)  # fmt: skip
BETWEEN = st.sampled_from(["", " ", "-", " / ", ", ", ".", "; ", " and ", "\u200b", "'", "e"])


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Lines, and patients of whom some are written in them, whole or in part."""
    pool = draw(st.lists(NUMBERS, min_size=2, max_size=7))
    part = st.sampled_from(pool).flatmap(lambda one: st.sampled_from([one, one[:-1], one[1:], one + "0", one.lower()]))
    lines = draw(st.lists(st.lists(st.tuples(part, BETWEEN).map("".join), max_size=3).map("".join), max_size=4))
    return lines, list(dict.fromkeys(one for one in pool if one.strip()))


def alone(text: str, patient: str) -> bool:
    return patient in found(text, patient).patients


def holds(lines: list[str], here: list[str]) -> None:
    for text in ("\n".join(["patient", *lines, ""]), "\n".join(["patient,x", *(f"1,{line}" for line in lines), ""])):
        assert {one for one in here if alone(text, one)} == found(text, *here).patients


@settings(max_examples=40, deadline=None)
@given(lists())
@example((["NHS 943 476 5919"], ["9434765919", "12-34-56"]))
@example((["x 1 e5", "123457 e11"], ["100000", "1E5", "123457000001", "123457E11", "x 1e5"]))
@example((["10000.0 10001.0"], ["10000", "10000.0 1", "10000-0-10001"]))
def test_whether_one_is_found_hangs_on_nobody_else_here(case: tuple[list[str], list[str]]) -> None:
    """So one patient more takes nobody else out, and brings nobody back."""
    holds(*case)


@pytest.mark.soak
@settings(max_examples=5_000, deadline=None)
@given(lists())
def test_whether_one_is_found_hangs_on_nobody_else_here_in_many_lists(case: tuple[list[str], list[str]]) -> None:
    holds(*case)


def test_with_privacy_one_patient_more_takes_nobody_else_out(tmp_path: Path) -> None:
    """One with a number of three parts: a line was searched for as many as somebody here had."""
    several = [str(9434765900 + number) for number in range(20)] + ["4000000000"]
    left = []
    for more in ([], ["12-34-56"], list(string.ascii_uppercase)):
        root = tmp_path / str(len(more))
        folder = ward(root, *several, *more)
        write_list(root, "NHS 943 476 5919", "4000000000")
        cohort, secret = prepare(folder, study_of(PRIVATE, ["labs"]), at_work=True), site_secret(root / "state")
        left.append({one for one in several if secret.pseudonym(one) in cohort.sides})
    assert left == [set(several) - {"9434765919", "4000000000"}] * 3
