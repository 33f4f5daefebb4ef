"""Data that come and go between the sums of two studies hide nobody whom the second study takes, or leaves out, itself.

And a hospital is refused nothing for what its data alone have changed. Without privacy, at a site that shows no fewer
than ten.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from client.data.recipe import Rules
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


GENE = frozenset({"gene"})
THREE = Rules("t", "year", {"chart": "c", "panel": "p", "gene": "g"})


@pytest.mark.parametrize("there", [False, True])
def test_who_came_by_what_both_studies_read_alike_and_is_gone_is_taken_by_the_study(tmp_path: Path, there) -> None:
    """Eleven panels came for one sum and were taken back, ten of them with the patients or not. The second study reads
    these panels, and genes, by which it takes x; that it reads no charts, of which the first knows, excuses nothing.
    """
    train: Who = dict.fromkeys(TRAIN, ("train", BOTH | GENE))
    eleven: Who = {"x": ("train", PANEL)} | {f"y{i}": ("train", PANEL) for i in range(10)}
    for some, away in (({}, eleven), (eleven, {})):
        opening(tmp_path, "a", of_the_study(signing(train | some, BOTH, THREE, away), "chart", "panel"), 10)
    away = {name: who for name, who in eleven.items() if name != "x" and there}
    second = signing(train | {"x": ("train", GENE)}, PANEL | GENE, THREE, away)
    refused_by(tmp_path, "b", of_the_study(second, "panel", "gene"), 1)


X: Who = {"x": ("train", BOTH)}
TEN: Who = {f"y{i}": ("train", CHART) for i in range(10)}
WITHOUT: Who = {"x": ("train", PANEL)} | dict.fromkeys(TEN, ("train", PANEL))
WITH_CHARTS = of_the_study(signing(TRAIN | X | TEN, BOTH, YEAR), "chart")
WITHOUT_CHARTS = of_the_study(signing(TRAIN | WITHOUT, BOTH, YEAR), "chart")
PANELS = of_the_study(signing(TRAIN | X, BOTH, YEAR), "panel")
X_BY_CHART: Who = {"x": ("train", CHART)}
WITH_ONE_CHART = of_the_study(signing(TRAIN | X_BY_CHART, BOTH, YEAR), "chart")
WITH_OTHERS = of_the_study(signing(TRAIN | TEN, BOTH, YEAR, X_BY_CHART), "chart")
WITH_WORD, WITHOUT_WORD = signing(TRAIN | X | TEN, BOTH, YEAR), signing(TRAIN, BOTH, YEAR, X | TEN)


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="left, and said in SECURITY.md: the second study cannot know of it"
)
@pytest.mark.parametrize(
    ("sums", "second"),
    [
        ([WITH_ONE_CHART, WITH_OTHERS], of_the_study(signing(TRAIN | X_BY_CHART, BOTH, YEAR), "panel")),
        ([WITHOUT_CHARTS, WITH_CHARTS], PANELS),
        ([WITHOUT_WORD, WITH_WORD], signing(TRAIN | X, BOTH, WARD)),
    ],
    ids=["a chart was missing once", "a chart was there once", "a word of the split column was there once"],
)
def test_who_was_in_one_sum_alone_or_in_all_but_one_is_not_shown(tmp_path: Path, sums, second) -> None:
    """And hidden by ten others in the difference of both, who are in the file no more. The second study reads
    no charts, or another split column: x alone is in the first study's smaller sum and not in this one, or the reverse.
    """
    for cut in sums:
        opening(tmp_path, "a", cut, 10)
    try:
        opening(tmp_path, "b", second, 10)
    except AnsweredError:
        return
    assert min(sums, key=lambda cut: len(cut.sides)).sides.keys() ^ second.sides.keys() != {"x"}


def test_a_part_of_ten_that_was_not_signed_for_does_not_come_by_the_data(tmp_path: Path) -> None:
    """Because the hospital showed no fewer than eleven then, and shows ten now: a person is told of them."""
    first = signing(TRAIN | in_test(10), BOTH, YEAR)
    opening(tmp_path, "a", replace(first, signed=frozenset({"train"})), 11)
    assert asked_about(tmp_path, "b", signing(TRAIN | in_test(10), BOTH, WARD), 10) == 10


@pytest.mark.parametrize("number", [1, 9])
def test_whose_row_is_taken_out_of_the_targets_file_stops_neither_of_two_studies(tmp_path: Path, number: int) -> None:
    """Of charts and of panels, of the very same patients. A gap in the target's column is refused to both, each by the
    other's sum: neither reads by what the other one takes them.
    """
    some: Who = {f"x{i}": ("train", BOTH) for i in range(number)}
    both = (("a", "chart"), ("b", "panel"))
    for study, name in both:
        opening(tmp_path, study, of_the_study(signing(TRAIN | some, BOTH, YEAR), name), 10)
    for study, name in both:
        refused_by(tmp_path, study, of_the_study(signing(TRAIN, BOTH, YEAR, some), name), number)
    for study, name in both:
        cut = of_the_study(signing(TRAIN, BOTH, YEAR), name)
        assert asked_about(tmp_path, study, cut, 10) == 0
        opening(tmp_path, study, cut, 10)


def test_who_left_before_the_other_study_summed_is_left_out_by_the_study(tmp_path: Path) -> None:
    """x was in the second study's first sum, and lost the panel; then the first study took x by a chart."""
    had: Who = {"x": ("train", BOTH)}
    has: Who = {"x": ("train", CHART)}
    opening(tmp_path, "b", of_the_study(signing(TRAIN | had, BOTH, YEAR), "panel"), 10)
    opening(tmp_path, "a", of_the_study(signing(TRAIN | has, BOTH, YEAR), "chart"), 10)
    refused_by(tmp_path, "b", of_the_study(signing(TRAIN | has, BOTH, YEAR), "panel"), 1)


def test_a_study_that_never_had_a_patient_leaves_this_one_out_of_the_others(tmp_path: Path) -> None:
    """x is new, and in the first study's sum; the second one began before, and never takes x."""
    x: Who = {"x": ("train", CHART)}
    opening(tmp_path, "b", signing(TRAIN, PANEL, YEAR), 10)
    opening(tmp_path, "a", signing(TRAIN | x, BOTH, YEAR), 10)
    refused_by(tmp_path, "b", signing(TRAIN | x, PANEL, YEAR), 1)


def test_who_is_back_is_left_out_by_the_study_whatever_else_the_first_one_reads(tmp_path: Path) -> None:
    """Of the modalities of the first study the second one reads the charts alike, which x has again, and no genes."""
    train: Who = dict.fromkeys(TRAIN, ("train", BOTH | GENE))
    x: Who = {"x": ("train", CHART)}
    others: Who = {f"y{i}": ("train", BOTH) for i in range(10)}
    opening(tmp_path, "a", of_the_study(signing(train | x, BOTH | GENE, THREE), "chart", "gene"), 10)
    opening(tmp_path, "a", of_the_study(signing(train | others, BOTH | GENE, THREE, x), "chart", "gene"), 10)
    second = signing(train | x, PANEL, THREE)
    second = of_the_study(second, "chart", "panel")
    refused_by(tmp_path, "b", replace(second, used=PANEL), 1)


@pytest.mark.parametrize("number", [1, 9])
def test_whose_charts_left_by_columns_that_the_second_study_does_not_read_left_with_the_data(tmp_path, number) -> None:
    """They have charts by its own columns, and it uses panels, which they have not."""
    some: Who = {f"x{i}": ("train", CHART) for i in range(number)}
    for who, away in ((TRAIN | some, {}), (TRAIN, some)):
        opening(tmp_path, "a", of_the_study(signing(who, BOTH, YEAR, away), "chart"), 10)
    cut = replace(of_the_study(signing(TRAIN | some, BOTH, OTHER_COLUMNS), "chart", "panel"), used=PANEL)
    assert asked_about(tmp_path, "b", cut, 10) == 0
    opening(tmp_path, "b", cut, 10)
