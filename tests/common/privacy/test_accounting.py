"""Epsilon against closed forms and against another library, never against itself."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

import common.privacy.accounting as accounting
from common.errors import PrivacyError
from common.privacy.accounting import Accountant, Release, epsilon

DELTA = 1e-5
STATISTICS = Release("statistics", 8.0, 1.0, 1)
pytestmark = pytest.mark.filterwarnings("ignore:Optimal order")


def gaussian_epsilon(multiplier: float, delta: float) -> float:
    """Exact epsilon of one Gaussian mechanism (Balle and Wang 2018, theorem 8)."""
    shift = 1 / multiplier

    def excess(eps: float) -> float:
        left = norm.logcdf(shift / 2 - eps / shift)
        right = eps + norm.logcdf(-shift / 2 - eps / shift)
        return math.exp(left) - math.exp(right) - delta

    return float(brentq(excess, 0, 500)) if excess(0) > 0 else 0.0


def google(releases: list[Release], *, pld: bool) -> float:
    dp = pytest.importorskip("dp_accounting", reason="the other accountant is not installed")
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    account: Any = PLDAccountant() if pld else RdpAccountant(orders=accounting._ORDERS)
    for release in releases:
        event: Any = dp.GaussianDpEvent(release.noise_multiplier)
        if release.sample_rate < 1:
            event = dp.PoissonSampledDpEvent(release.sample_rate, event)
        account.compose(dp.SelfComposedDpEvent(event, release.steps))
    return float(account.get_epsilon(DELTA))


HISTORIES = [
    [STATISTICS],
    [Release("training", 1.0, 0.1, 110), STATISTICS],
    [Release("training", 3.5, 0.02, 2000), STATISTICS],
    [Release("training", 0.9, 0.02, 2000), Release("training", 1.2, 0.05, 300)],
    [Release("evaluation", 4.0, 1.0, 12), STATISTICS],
]


@pytest.mark.parametrize("releases", HISTORIES)
def test_the_bound_agrees_with_another_librarys_bound(releases: list[Release]) -> None:
    assert epsilon(releases, DELTA) == pytest.approx(google(releases, pld=False), rel=0.005)


@pytest.mark.parametrize("releases", HISTORIES)
def test_neither_accountant_is_below_another_librarys_loss_distribution(releases: list[Release]) -> None:
    truth = google(releases, pld=True)
    assert epsilon(releases, DELTA, "rdp") >= truth
    assert truth - 1e-3 <= epsilon(releases, DELTA, "prv") <= truth + 0.03


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
@pytest.mark.parametrize(("multiplier", "times"), [(1.0, 1), (8.0, 1), (30.0, 25), (2.0, 4)])
def test_full_data_releases_compose_as_one_gaussian(accountant: Accountant, multiplier: float, times: int) -> None:
    exact = gaussian_epsilon(multiplier / math.sqrt(times), DELTA)
    found = epsilon([Release("evaluation", multiplier, 1.0, times)], DELTA, accountant)
    assert exact <= found <= (exact * 1.15 + 0.02 if accountant == "rdp" else exact + 0.03)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.8, 1.3, 6.0]), st.sampled_from([0.05, 0.3]), st.integers(1, 30)), min_size=1),
    st.randoms(),
)
def test_epsilon_depends_only_on_the_sum_of_equal_steps(parts: list[tuple[float, float, int]], random: Any) -> None:
    releases = [Release("training", *part) for part in parts]
    together: dict[tuple[float, float], int] = {}
    for multiplier, rate, steps in parts:
        together[multiplier, rate] = together.get((multiplier, rate), 0) + steps
    merged = [Release("training", *key, steps) for key, steps in together.items()]
    random.shuffle(releases)
    assert epsilon(releases, DELTA) == epsilon(merged, DELTA)


def test_rounds_compose_to_what_one_accountant_says_of_all_steps() -> None:
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    for _ in range(60):
        accountant.step(noise_multiplier=1.1, sample_rate=0.1)
    by_round = [Release("training", 1.1, 0.1, 20) for _ in range(3)]
    assert epsilon(by_round, DELTA) == pytest.approx(accountant.get_epsilon(DELTA), rel=1e-3)
    alone = epsilon(by_round[:1], DELTA)
    assert alone < epsilon(by_round, DELTA) < 3 * alone


@settings(max_examples=12, deadline=None)
@given(st.floats(0.5, 20), st.floats(0.01, 1.0), st.integers(1, 200))
def test_more_noise_or_fewer_steps_never_cost_more(multiplier: float, rate: float, steps: int) -> None:
    cost = epsilon([Release("training", multiplier, rate, steps)], DELTA)
    assert epsilon([Release("training", multiplier * 1.2, rate, steps)], DELTA) <= cost
    assert epsilon([Release("training", multiplier, rate, steps + 1)], DELTA) >= cost
    assert cost >= 0


def test_nothing_released_costs_nothing() -> None:
    assert epsilon([], DELTA) == 0.0


@pytest.mark.parametrize(("multiplier", "steps"), [(0.01, 50), (0.3, 3_000_000), (0.05, 3)])
def test_where_the_numerical_accountant_gives_out_the_bound_stands(multiplier: float, steps: int) -> None:
    releases = [Release("training", multiplier, 1.0, steps)]
    assert epsilon(releases, DELTA, "prv") == epsilon(releases, DELTA, "rdp")


@settings(max_examples=10, deadline=None)
@given(st.floats(0.6, 50), st.sampled_from([0.01, 0.2, 1.0]), st.integers(1, 300))
def test_the_numerical_accountant_never_says_more_than_the_bound(multiplier: float, rate: float, steps: int) -> None:
    releases = [Release("training", multiplier, rate, steps)]
    assert epsilon(releases, DELTA, "prv") <= epsilon(releases, DELTA, "rdp")


@pytest.mark.parametrize(
    ("multiplier", "rate", "steps"),
    [
        (0.0, 0.1, 1),
        (-1.0, 0.1, 1),
        (math.inf, 0.1, 1),
        (math.nan, 0.1, 1),
        (1.0, 0.0, 1),
        (1.0, 1.1, 1),
        (1.0, 0.1, 0),
    ],
)
def test_a_release_without_a_meaning_is_refused(multiplier: float, rate: float, steps: int) -> None:
    with pytest.raises(PrivacyError):
        Release("training", multiplier, rate, steps)


def test_statistics_cannot_claim_amplification_by_sampling() -> None:
    with pytest.raises(PrivacyError):
        Release("statistics", 1.0, 0.5, 1)


def test_the_approximation_that_is_no_bound_is_not_reachable() -> None:
    assert "gdp" not in inspect.getsource(accounting).lower()
    assert "GaussianAccountant" not in inspect.getsource(accounting)
