"""Patients come and leave between two sums of a study: by how many another study differs is of each of its sums."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

from client.exact_sums.cut import Cut
from client.exact_sums.cuts import allow, asked_about, opening, require_alike
from client.exact_sums.cuts_file import read
from client.exact_sums.versions import added, versions
from common.errors import AnsweredError
from tests.support.cuts import everyone

CHART, PANEL = frozenset({"chart"}), frozenset({"panel"})


def having_charts(charts: int, gone: int, used: frozenset[str]) -> Cut:
    """Of fifty patients so many have nothing but a chart, and so many of these lost it with the data."""
    having = {str(one): CHART if one < charts else CHART | PANEL for one in range(gone, 50)}
    parts = {patient: "train" for patient, names in having.items() if names & used}
    return Cut(parts, having, used, out=frozenset(str(one) for one in range(50)) - parts.keys())


@pytest.mark.parametrize(("gone", "told"), [(0, 20), (10, 10), (19, 1)])
def test_who_left_with_the_data_does_not_hide_whom_another_study_leaves_out(tmp_path, gone, told) -> None:
    """The last sum of the first study was without them: from the second one's it differed by a single patient."""
    for number in (0, gone):
        opening(tmp_path, "a", having_charts(20, number, CHART), 10)
    other = having_charts(20, gone, PANEL)
    assert asked_about(tmp_path, "b", other) == told
    allow(tmp_path, "b", other)
    with nullcontext() if told >= 10 else pytest.raises(AnsweredError, match=f"by {told} patients"):
        require_alike(tmp_path, "b", other, 10)


@pytest.mark.parametrize(("old", "new", "told"), [(10, 0, 10), (10, 9, 10), (1, 9, 1)])
def test_who_is_new_does_not_hide_who_moves(tmp_path, old, new, told) -> None:
    """The first sum of the first study was without the new ones."""
    rest = {f"rest {number}": ("train", "test")[number % 2] for number in range(80)}
    first, more = ({f"{kind} {one}": "train" for one in range(size)} for kind, size in (("old", old), ("new", new)))
    opening(tmp_path, "a", everyone(rest | first), 10)
    opening(tmp_path, "a", everyone(rest | first | more), 10)
    other = everyone(rest | dict.fromkeys(first | more, "test"))
    assert asked_about(tmp_path, "b", other) == told
    allow(tmp_path, "b", other)
    with nullcontext() if told >= 10 else pytest.raises(AnsweredError, match=f"by {told} patients"):
        require_alike(tmp_path, "b", other, 10)


def test_a_version_is_kept_once_and_as_what_changed(tmp_path) -> None:
    small, large = (everyone({str(number): "train" for number in range(size)}) for size in (30, 40))
    for version in (small, large, small, large, large):
        opening(tmp_path, "a", version, 10)
    (use,) = json.loads((tmp_path / "cuts.json").read_text())["uses"]
    assert [len(change) for change in use["changes"]] == [30, 10]


@pytest.mark.parametrize(("grown", "told"), [(False, 1), (True, 1)])
def test_charts_that_came_later_do_not_hide_the_one_who_had_one_from_the_start(tmp_path, grown, told) -> None:
    """A side was counted by the modalities of all earlier sums together; the first sum showed one chart."""
    rest = {f"rest {number}": ("train", "test")[number % 2] for number in range(80)}
    ten = {str(number): "train" for number in range(10)}
    having = dict.fromkeys(rest | ten, CHART | PANEL)
    first = Cut(rest | ten, having | dict.fromkeys([*ten][1:], PANEL), CHART | PANEL)
    later = Cut(rest | ten, having, CHART | PANEL)
    for cut in (first, later) if grown else (first,):
        opening(tmp_path, "a", cut, 10)
    other = Cut(rest | dict.fromkeys(ten, "test"), having, CHART | PANEL)
    assert asked_about(tmp_path, "b", other) == told
    allow(tmp_path, "b", other)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        require_alike(tmp_path, "b", other, 10)
    opening(tmp_path / "together", "a", later, 10)  # the same ten, all with charts in every sum
    allow(tmp_path / "together", "b", other)
    opening(tmp_path / "together", "b", other, 10)


@pytest.mark.parametrize(("grown", "of_these"), [(False, 1), (True, 1), (True, 10)])
def test_who_came_later_does_not_hide_who_leaves_by_the_modalities(tmp_path, grown, of_these) -> None:
    """Within one study: ten with nothing but a chart left when a run took no charts, one of whom alone was in a sum."""
    rest = {f"rest {number}": "train" for number in range(40)}
    ten = [str(number) for number in range(10)]

    def cut(size: int, used: frozenset[str]) -> Cut:
        having = dict.fromkeys(rest, CHART | PANEL) | dict.fromkeys(ten[:size], CHART)
        return Cut(dict.fromkeys(having, "train"), having, used)

    opening(tmp_path, "a", cut(of_these, CHART | PANEL), 10)
    if grown:
        opening(tmp_path, "a", cut(10, CHART | PANEL), 10)
    without = cut(10, PANEL)
    with nullcontext() if of_these == 10 else pytest.raises(AnsweredError, match=f"these {of_these} patients"):
        require_alike(tmp_path, "a", without, 10)


def test_who_left_the_data_for_a_while_was_left_out_by_the_other_study_all_the_same(tmp_path) -> None:
    """With a panel alone in the first sum; a chart came and went. The other study, of charts, would have taken none."""
    rest = dict.fromkeys((f"rest {number}" for number in range(40)), "train")

    def cut(names: frozenset[str], used: frozenset[str]) -> Cut:
        having = dict.fromkeys(rest, CHART | PANEL) | {"x": names}
        parts = {patient: "train" for patient, has in having.items() if has}
        return Cut(parts, having, used, out=frozenset({"x"} - parts.keys()))

    for names in (PANEL, CHART | PANEL):
        opening(tmp_path, "a", cut(names, CHART | PANEL), 10)
    for names in (PANEL, frozenset[str]()):
        assert asked_about(tmp_path, "b", cut(names, CHART)) == 1
        with pytest.raises(AnsweredError, match="by 1 patients"):
            require_alike(tmp_path, "b", cut(names, CHART), 10)


def test_modalities_of_a_version_are_read_back(tmp_path) -> None:
    opening(tmp_path, "a", having_charts(20, 0, CHART | PANEL), 10)
    (use,) = read(tmp_path).uses
    ((states, order),) = versions(use, ["0", "49", "nobody"])
    assert order == 1
    assert [added(use, state) for state in states.values()] == [("train", CHART), ("train", CHART | PANEL), None]


def test_what_a_third_study_says_of_a_patient_does_not_count_as_the_first_ones(tmp_path) -> None:
    """Ten whom a study between had in test, as both others had not, hid the one by whom these two differ."""
    old = {f"rest {number}": ("train", "test")[number % 2] for number in range(60)}
    ten = [f"new {number}" for number in range(10)]

    def of(ten_in: str, x_in: str) -> Cut:
        return everyone(old | dict.fromkeys(ten, ten_in) | {"x": x_in})

    opening(tmp_path, "a", everyone(old), 10)
    opening(tmp_path, "b", of("test", "test"), 10)
    a, c = of("train", "test"), of("train", "train")
    allow(tmp_path, "a", a)
    opening(tmp_path, "a", a, 10)
    assert asked_about(tmp_path, "c", c) == 1
    allow(tmp_path, "c", c)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        require_alike(tmp_path, "c", c, 10)
