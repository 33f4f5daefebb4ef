"""Thresholds: the three inequalities, and the sizes that the design names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import SecureSumError, TooFewSitesError
from common.secure_sum.thresholds import require_threshold, smallest_threshold


@pytest.mark.parametrize(
    ("sites", "colluding", "threshold"),
    [(3, 1, 3), (4, 1, 3), (5, 1, 4), (6, 1, 4), (10, 1, 6), (30, 1, 16), (5, 3, 5)],
)
def test_known_sizes(sites: int, colluding: int, threshold: int) -> None:
    assert smallest_threshold(sites, colluding) == threshold


@given(st.integers(0, 60), st.integers(1, 20), st.integers(-2, 70))
def test_exactly_the_inequalities(sites: int, colluding: int, threshold: int) -> None:
    safe = 2 * threshold > sites + colluding and threshold >= colluding + 2 and threshold <= sites
    try:
        require_threshold(sites, threshold, colluding)
    except SecureSumError:
        assert not safe
    else:
        assert safe


@given(st.integers(0, 60), st.integers(1, 20))
def test_smallest_is_allowed_and_one_less_is_not(sites: int, colluding: int) -> None:
    try:
        smallest = smallest_threshold(sites, colluding)
    except TooFewSitesError:
        assert sites < colluding + 2
        return
    require_threshold(sites, smallest, colluding)
    with pytest.raises(SecureSumError):
        require_threshold(sites, smallest - 1, colluding)


@given(st.integers(3, 60), st.integers(1, 10))
def test_two_groups_of_holders_share_an_honest_site(sites: int, colluding: int) -> None:
    """Honest sites give one of a site's two shares, colluding ones both: t of each is never reached."""
    if sites >= colluding + 2:
        threshold = smallest_threshold(sites, colluding)
        assert (sites - colluding) + 2 * colluding < 2 * threshold


@pytest.mark.parametrize("colluding", [0, -1])
def test_somebody_may_always_collude(colluding: int) -> None:
    with pytest.raises(SecureSumError):
        require_threshold(5, 4, colluding)
