"""Layout: a summand's segments as one vector, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import RangeError
from common.summand import Layout, Segment


@given(st.lists(st.integers(0, 5), max_size=5))
def test_what_is_joined_comes_back(lengths):
    """Any number of segments: a round without validation, after the last of training, has none."""
    layout = Layout(tuple(Segment(f"part{place}", length, 1.0) for place, length in enumerate(lengths)))
    values = {part.name: np.random.default_rng(part.length).random(part.length) for part in layout.segments}
    back = layout.part(layout.join(values))
    assert list(back) == list(values)
    for name, value in values.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("size", [0, 2, 4])
def test_a_vector_of_another_length_is_refused(size):
    with pytest.raises(RangeError, match="the plan says 3"):
        Layout((Segment("a", 1, 1.0), Segment("b", 2, 1.0))).part(np.zeros(size))


LAYOUT = Layout((Segment("update", 6, 4.0), Segment("cases", 1, 100.0)))
CASES = np.array([37])


def test_an_update_is_taken_as_it_is_and_whole_numbers_as_float64():
    update = np.arange(6, dtype=np.float32).reshape(2, 3)
    taken, cases = LAYOUT.summand({"cases": CASES, "update": (update, 2.5)}).parts
    assert np.shares_memory(taken.values, update) and taken.values.dtype == np.float32
    assert (taken.segment.name, taken.values.shape, taken.factor) == ("update", (6,), 2.5)
    assert cases.values.dtype == np.float64
    joined = LAYOUT.join({"cases": CASES, "update": (update, 2.5)})
    np.testing.assert_array_equal(joined, [0, 2.5, 5, 7.5, 10, 12.5, 37])


@pytest.mark.parametrize(
    "values",
    [
        {"update": np.zeros(6)},
        {"update": np.zeros(6), "cases": CASES, "more": CASES},
        {"update": np.zeros(5), "cases": CASES},
        {"update": (np.zeros(7), 2.0), "cases": CASES},
        {"update": np.zeros(6), "cases": 37.0 * np.ones(0)},
    ],
)
def test_other_segments_than_the_plan_says_are_refused(values):
    for take in (LAYOUT.summand, LAYOUT.join):
        with pytest.raises(RangeError, match="plan"):
            take(values)


def test_a_summand_shows_no_value():
    shown = repr(LAYOUT.summand({"update": (np.full(6, 0.7654), 0.1234), "cases": CASES}))
    assert "update" in shown
    assert not any(value in shown for value in ("0.7654", "0.1234", "37"))
