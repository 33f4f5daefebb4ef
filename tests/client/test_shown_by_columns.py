"""Who has a modality by the columns of one study alone is one patient, and hides no other.

Without privacy, at a site that shows no fewer than ten.
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
    WARD,
    YEAR,
    Who,
    asked_and_opened,
    signing,
)

OTHER_WARD = replace(OTHER_COLUMNS, split="ward")
FORTY = [f"t{i}" for i in range(40)]


def each(names: list[str], part: str, has: frozenset[str] = BOTH) -> Who:
    return dict.fromkeys(names, (part, has))


def told_and_answered(state: Path, cut: Cut, few: int) -> None:
    """A person is told of exactly the few, and answered only if they are ten."""
    assert asked_about(state, "b", cut, 10) == few
    if few >= 10:
        assert asked_and_opened(state, "b", cut) == few
        return
    with pytest.raises(AnsweredError, match=f"by {few} patients"):
        asked_and_opened(state, "b", cut)


@pytest.mark.parametrize("number", [4, 5, 9, 10])
@pytest.mark.parametrize("other", [False, True], ids=["same columns", "other columns"])
def test_who_stays_without_charts_by_the_other_columns_is_counted_once(tmp_path: Path, number: int, other) -> None:
    """Validation of the first study less test of the second is those who stay: five counted as ten, and were given."""
    stay, move = [f"s{i}" for i in range(number)], [f"m{i}" for i in range(10 if number < 10 else 20)]
    opening(tmp_path, "a", signing(each(FORTY, "train") | each(stay + move, "validation"), BOTH, YEAR), 10)
    now = PANEL if other else BOTH
    rest = each(FORTY[10:], "train") | each(FORTY[:10], "validation")
    rest |= each(stay, "validation", now) | each(move, "test", now)
    told_and_answered(tmp_path, signing(rest, BOTH, OTHER_WARD if other else WARD), number)


@pytest.mark.parametrize("number", [4, 5])
def test_who_leaves_a_part_by_signing_is_counted_once_in_a_modality(tmp_path: Path, number: int) -> None:
    """Training and test of the first study less training of the second, of charts, is the few who have charts by the
    first one's columns, in a part for which the site does not sign in the second.
    """
    few, others, move = (
        [f"{of}{i}" for i in range(size)] for of, size in (("f", number), ("r", 9 - number), ("m", 21))
    )
    gap = each([f"g{i}" for i in range(10)], "test", PANEL)
    before = each(few + move, "test") | each(others, "test", PANEL) | gap
    opening(tmp_path, "a", signing(each(FORTY, "train") | before, BOTH, YEAR), 10)
    now = each(FORTY + move, "train") | each(few + others, "test", PANEL)
    told_and_answered(tmp_path, signing(now, BOTH, OTHER_WARD, gap), number)


@pytest.mark.parametrize("number", [1, 9])
@pytest.mark.parametrize("first", ["test", "validation"])
def test_a_part_is_not_left_by_the_data_where_others_are_elsewhere(tmp_path: Path, number: int, first) -> None:
    """Of the test patients of one study ten have charts alone, and are in validation by the words of the other, which
    runs on panels, and signs for neither part. Ten were told, who left by the words, and the few with panels as well.
    """
    ten, few = [f"y{i}" for i in range(10)], each([f"x{i}" for i in range(number)], "test")
    one = signing(each(FORTY, "train") | few | each(ten, "test", CHART), BOTH, YEAR)
    other = signing(each(FORTY, "train") | few | each(ten, "validation", CHART), PANEL, YEAR)
    assert (one.signed, other.signed) == ({"train", "test"}, {"train"})
    before, now = (one, other) if first == "test" else (other, one)
    opening(tmp_path, "a", before, 10)
    told_and_answered(tmp_path, now, number)
