"""Patients come and leave between two sums of a study: by how many another study differs is of each of its sums."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest

from client.cut import Cut
from client.cuts import allow, asked_about, opening, require_alike
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
