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
