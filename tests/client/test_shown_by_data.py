"""Data that come and go between the sums of two studies hide nobody whom the second study takes, or leaves out, itself.

And a hospital is refused nothing for what its data alone have changed. Without privacy, at a site that shows no fewer
than ten.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from client.exact_sums.cut import Cut
from client.exact_sums.cuts import asked_about, opening
from common.errors import AnsweredError
from tests.client.test_shown_by_groups import (
    BOTH,
    CHART,
    OTHER_COLUMNS,
    PANEL,
    TRAIN,
    WARD,
    YEAR,
    Who,
    asked_and_opened,
    signing,
)

CHARTS_ALONE = replace(YEAR, recipes={"chart": "c"})


def refused_by(state: Path, study: str, cut: Cut, number: int) -> None:
    with pytest.raises(AnsweredError, match=f"by {number} patients"):
        asked_and_opened(state, study, cut)


@pytest.mark.parametrize("charts", [0, 20])
@pytest.mark.parametrize("between", [{}, {"x": ("test", PANEL)}], ids=["absent", "without a panel"])
def test_who_comes_into_a_part_is_hidden_by_none_who_adds_nothing(tmp_path: Path, between: Who, charts: int) -> None:
    """The first study would sign for the part now, by twenty with charts; the second one reads panels, and takes x
    alone of them, beside ten who were in training.
    """
    x: Who = {"x": ("test", PANEL)}
    more: Who = {f"c{i}": ("test", CHART) for i in range(charts)}
    moved: Who = {f"t{i}": ("test", BOTH) for i in range(10)}
    opening(tmp_path, "a", signing(TRAIN | x, BOTH, YEAR), 10)
    opening(tmp_path, "a", signing(TRAIN | more, BOTH, YEAR, between), 10)
    refused_by(tmp_path, "b", signing(TRAIN | moved | x | more, PANEL, YEAR), 1)


def in_test(number: int) -> Who:
    return {f"n{i}": ("test", BOTH) for i in range(number)}


@pytest.mark.parametrize(("used", "rules"), [(BOTH, YEAR), (CHART, YEAR), (BOTH, WARD)], ids=["same", "used", "split"])
@pytest.mark.parametrize("first", [10, 12, 200])
def test_a_hospital_that_shrinks_is_refused_nothing_and_asked_nothing(tmp_path: Path, first: int, used, rules) -> None:
    """Of so many test patients nine are left: the first study signs for them no more, and no other one does."""
    for number in (first, 9):
        opening(tmp_path, "a", signing(TRAIN | in_test(number), BOTH, YEAR), 10)
    cut = signing(TRAIN | in_test(9), used, rules)
    assert asked_about(tmp_path, "b", cut, 10) == 0
    opening(tmp_path, "b", cut, 10)


def test_a_hospital_that_comes_to_ten_is_refused_nothing_and_asked_nothing(tmp_path: Path) -> None:
    """Of nine test patients the first study adds nothing, of ten both would."""
    for number in (9, 10):
        opening(tmp_path, "a", signing(TRAIN | in_test(number), BOTH, YEAR), 10)
    ten = TRAIN | in_test(10)
    for study, cut in (("b", signing(ten, BOTH, WARD)), ("c", signing(ten, CHART, YEAR))):
        assert asked_about(tmp_path, study, cut, 10) == 0
        opening(tmp_path, study, cut, 10)


FIVE: Who = {f"c{i}": ("test", CHART) for i in range(5)}
MOVED: Who = {f"t{i}": ("test", BOTH) for i in range(10)}


@pytest.mark.parametrize(
    ("summed", "now", "rules"),
    [
        ([{}], MOVED | FIVE, WARD),
        ([{}], FIVE, OTHER_COLUMNS),
        ([{}, FIVE], FIVE, OTHER_COLUMNS),
    ],
    ids=["new ones whom the first study may have elsewhere", "new ones by other columns", "summed by other columns"],
)
def test_a_part_is_not_signed_by_those_whom_the_first_study_may_not_have_in_it(
    tmp_path: Path, summed, now, rules
) -> None:
    """Nine come with the second study into a part in which nobody knows that the first would have ten."""
    for more in summed:
        opening(tmp_path, "a", signing(TRAIN | in_test(9) | more, BOTH, YEAR), 10)
    refused_by(tmp_path, "b", signing(TRAIN | in_test(9) | now, BOTH, rules), 9)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_part_in_which_the_first_study_may_have_ten_is_not_left_by_the_data(tmp_path: Path, gone: int) -> None:
    """All but one leave it by the second study, which signs for that one no more."""
    opening(tmp_path, "a", signing(TRAIN | in_test(10 + gone), BOTH, YEAR), 10)
    moved: Who = {f"n{i}": ("train", BOTH) for i in range(9)}
    refused_by(tmp_path, "b", signing(TRAIN | in_test(10) | moved, BOTH, WARD), 1)


def test_new_ones_may_be_in_the_part_by_the_first_study(tmp_path: Path) -> None:
    """Nine of ten are left in it, and five are new, whom the second study has elsewhere."""
    opening(tmp_path, "a", signing(TRAIN | in_test(10), BOTH, YEAR), 10)
    new: Who = {f"c{i}": ("train", BOTH) for i in range(5)}
    refused_by(tmp_path, "b", signing(TRAIN | in_test(9) | new, BOTH, WARD), 9)


def test_who_leaves_a_part_by_the_study_is_not_taken_along_by_those_who_are_gone(tmp_path: Path) -> None:
    """Nine of twelve are left in the file, and one of them the second study alone puts elsewhere."""
    opening(tmp_path, "a", signing(TRAIN | in_test(12), BOTH, YEAR), 10)
    refused_by(tmp_path, "b", signing(TRAIN | in_test(9) | {"n0": ("train", BOTH)}, BOTH, WARD), 1)


@pytest.mark.parametrize("gap", [False, True])
def test_who_is_in_no_sum_of_either_study_is_no_difference(tmp_path: Path, gap: bool) -> None:
    """Five have a part that the site signs for in neither study, or a gap in the first one's split column."""
    five: Who = {f"v{i}": ("test", BOTH) for i in range(5)}
    other: Who = dict.fromkeys(five, ("validation", BOTH))
    before = signing(TRAIN, BOTH, YEAR, five) if gap else signing(TRAIN | five, BOTH, YEAR)
    opening(tmp_path, "a", before, 10)
    cut = signing(TRAIN | other, BOTH, WARD)
    assert asked_about(tmp_path, "b", cut, 10) == 0
    opening(tmp_path, "b", cut, 10)


def test_who_left_with_the_data_and_is_back_is_left_out_by_the_study(tmp_path: Path) -> None:
    """Eleven charts were missing for a week. All are back, and the second study takes panels, which x has not."""
    x: Who = {"x": ("train", CHART)}
    others: Who = {f"y{i}": ("train", BOTH) for i in range(10)}
    opening(tmp_path, "a", signing(TRAIN | x | others, CHART, YEAR), 10)
    opening(tmp_path, "a", signing(TRAIN, CHART, YEAR, x | others), 10)
    refused_by(tmp_path, "b", signing(TRAIN | x | others, PANEL, YEAR), 1)


@pytest.mark.parametrize("has", [CHART, PANEL])
def test_who_came_with_the_data_and_is_gone_is_taken_by_the_study(tmp_path: Path, has: frozenset[str]) -> None:
    """Eleven charts came for one sum and were taken back; the second study takes x by a panel. Or x has the chart."""
    some: Who = {"x": ("train", CHART)} | {f"y{i}": ("train", CHART) for i in range(10)}
    opening(tmp_path, "a", signing(TRAIN, CHART, CHARTS_ALONE, some), 10)
    opening(tmp_path, "a", signing(TRAIN | some, CHART, CHARTS_ALONE), 10)
    gone: Who = {name: who for name, who in some.items() if name != "x"}
    cut = signing(TRAIN | {"x": ("train", has)}, BOTH, YEAR, gone)
    if has == CHART:
        assert asked_about(tmp_path, "b", cut, 10) == 0
        opening(tmp_path, "b", cut, 10)
    else:
        refused_by(tmp_path, "b", cut, 1)


@pytest.mark.parametrize("was", ["gap", "train"])
def test_a_study_that_a_person_allowed_goes_on_and_so_does_the_first(tmp_path: Path, was: str) -> None:
    """Its second sum, of the very same patients, was refused for one of the twelve who has a panel, which the first
    study never used: it was read from the cut of both.
    """
    old = {f"o{i}": ("test", BOTH) for i in range(20)}
    twelve: Who = {f"n{i}": (was, CHART if i else BOTH) for i in range(12)}
    first = signing(TRAIN | old, CHART, YEAR, twelve) if was == "gap" else signing(TRAIN | old | twelve, CHART, YEAR)
    second = signing(TRAIN | old | {name: ("test", has) for name, (_, has) in twelve.items()}, BOTH, WARD)
    opening(tmp_path, "a", first, 10)
    assert asked_and_opened(tmp_path, "b", second) == 12
    for _ in range(2):
        opening(tmp_path, "a", first, 10)
        assert asked_about(tmp_path, "b", second, 10) == 0
        opening(tmp_path, "b", second, 10)


def of_the_study(cut: Cut, *names: str) -> Cut:
    """The cut of a study that names these modalities alone: who has none of them is in no part of it."""
    having = {patient: has & {*names} for patient, has in cut.having.items() if has & {*names}}
    parts = {patient: part for patient, part in cut.parts.items() if patient in having}
    rules = replace(cut.rules, recipes={name: cut.rules.recipes[name] for name in names})
    out = cut.out | (cut.parts.keys() - having.keys())
    return replace(cut, parts=parts, having=having, out=out, used=frozenset(names), rules=rules)


@pytest.mark.parametrize("rules", [YEAR, OTHER_COLUMNS], ids=["panels alone", "other columns"])
@pytest.mark.parametrize("late", [1, 9])
def test_whose_charts_came_is_refused_to_no_study_that_cannot_know_of_them(tmp_path: Path, late: int, rules) -> None:
    """The very patients of the first study's newest sum, some of whose charts came after an earlier one."""
    name = "panel" if rules is YEAR else "chart"
    some: Who = {f"x{i}": ("train", BOTH) for i in range(late)}
    before: Who = {f"x{i}": ("train", PANEL) for i in range(late)}
    opening(tmp_path, "a", of_the_study(signing(TRAIN | before, BOTH, YEAR), "chart"), 10)
    newest = of_the_study(signing(TRAIN | some, BOTH, YEAR), "chart")
    opening(tmp_path, "a", newest, 10)
    cut = of_the_study(signing(TRAIN | some, BOTH, rules), name)
    assert cut.sides == newest.sides and asked_about(tmp_path, "b", cut, 10) == 0
    opening(tmp_path, "b", cut, 10)


@pytest.mark.parametrize("number", [1, 9])
def test_who_is_in_no_sum_of_its_own_stops_no_study(tmp_path: Path, number: int) -> None:
    """New patients are validation patients of the second study and test patients of the first, which signs for neither:
    it was refused its next sum, by an entry that both share.
    """
    new = {f"v{i}": BOTH for i in range(number)}
    opening(tmp_path, "a", signing(TRAIN, BOTH, YEAR), 10)
    opening(tmp_path, "b", signing(TRAIN | {name: ("validation", has) for name, has in new.items()}, BOTH, WARD), 10)
    first = signing(TRAIN | {name: ("test", has) for name, has in new.items()}, BOTH, YEAR)
    assert asked_about(tmp_path, "a", first, 10) == 0
    opening(tmp_path, "a", first, 10)
    moved = signing(TRAIN | {name: ("train", has) for name, has in new.items()}, BOTH, YEAR)
    if number == 1:  # into a part that is summed: by another word, in the same study
        with pytest.raises(AnsweredError):
            opening(tmp_path, "a", moved, 10)


def test_who_is_in_no_sum_is_no_difference_of_words_or_columns(tmp_path: Path) -> None:
    nine = in_test(9)
    opening(tmp_path, "a", signing(TRAIN | nine, BOTH, YEAR), 10)
    opening(
        tmp_path, "a", signing(TRAIN | {name: ("validation", has) for name, (_, has) in nine.items()}, BOTH, YEAR), 10
    )
    without = signing(TRAIN | dict.fromkeys(nine, ("test", PANEL)), BOTH, OTHER_COLUMNS)
    assert asked_about(tmp_path, "b", without, 10) == 0
    opening(tmp_path, "b", without, 10)
