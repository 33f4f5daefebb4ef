"""A plan with weights or a normaliser that no honest coordinator sends is refused before anything is charged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.round.limits import LARGEST_WEIGHT, require_honest_normaliser
from common.plan import RoundPlan
from common.statistics import normaliser_from_sums, ranges
from common.study import Study
from tests.support.scripted import ME, PLAIN, PRIVATE, Hospitals, refused
from tests.support.tiny import MODALITIES, study_of

CHART = MODALITIES["chart"] | {"normalise": "secure_sum", "numeric": {"age": {"low": 0, "high": 110}}}
PANEL = MODALITIES["panel"] | {"normalise": "secure_sum", "low": -3.0, "high": 5.0}
Normaliser = dict[str, tuple[np.ndarray, np.ndarray]]


def study(**sections: Any) -> Study:
    return study_of(modalities={"chart": CHART, "panel": PANEL, "letter": MODALITIES["letter"]}, **sections)


def honest() -> Normaliser:
    return {"chart": (np.array([61.0]), np.array([14.0])), "panel": (np.full(3, 0.5), np.full(3, 1.5))}


def changed(name: str, mean: Any = None, sd: Any = None) -> Normaliser:
    normaliser = honest()
    old_mean, old_sd = normaliser[name]
    normaliser[name] = (
        old_mean if mean is None else np.array(mean, dtype=float),
        old_sd if sd is None else np.array(sd, dtype=float),
    )
    return normaliser


BAD: dict[str, Callable[[], Normaliser]] = {
    "a mean below the range": lambda: changed("chart", mean=[-0.001]),
    "a mean above the range": lambda: changed("panel", mean=[0.5, 5.001, 0.5]),
    "an sd of zero": lambda: changed("panel", sd=[1.0, 0.0, 1.0]),
    "an sd below zero": lambda: changed("chart", sd=[-1.0]),
    "an sd above the range": lambda: changed("chart", sd=[110.001]),
    "an sd that makes one patient enormous": lambda: changed("chart", sd=[1e-300]) | changed("panel", mean=[9e9] * 3),
    "no number": lambda: changed("chart", mean=[np.nan]),
    "infinity": lambda: changed("panel", sd=[np.inf, 1.0, 1.0]),
    "another length": lambda: changed("panel", mean=[0.5, 0.5]),
    "a modality without ranges": lambda: honest() | {"letter": (np.zeros(1), np.ones(1))},
    "a modality that is not there": lambda: honest() | {"genome": (np.zeros(1), np.ones(1))},
}


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
@pytest.mark.parametrize("what", BAD)
def test_a_normaliser_that_no_sums_give_is_refused(tmp_path, what, mode) -> None:
    them = Hospitals(tmp_path, study(**mode))
    sum = them.offered(1, normaliser=BAD[what]())
    assert refused(them, ME, them.round_request(sum)) == "run"


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
def test_the_same_plan_with_a_normaliser_from_sums_is_answered(tmp_path, mode) -> None:
    Hospitals(tmp_path, study(**mode)).played(1, normaliser=honest())


@pytest.mark.parametrize("size", [LARGEST_WEIGHT * 1.001, 1e30, 3e38, -3e38])
def test_weights_that_no_training_reaches_are_refused_in_a_private_study(tmp_path, size) -> None:
    them = Hospitals(tmp_path, study(**PRIVATE))
    weights = them.weights.copy()
    weights[-1] = size
    sum = them.offered(1, weights=weights)
    assert refused(them, ME, them.round_request(sum)) == "run"


@pytest.mark.parametrize("size", [LARGEST_WEIGHT, -LARGEST_WEIGHT])
def test_weights_at_the_bound_are_answered(tmp_path, size) -> None:
    them = Hospitals(tmp_path, study(**PRIVATE))
    weights = them.weights.copy()
    weights[-1] = size
    them.played(1, weights=weights)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=9, max_size=9), st.floats(0.0, 1e6))
def test_whatever_noise_makes_of_the_sums_their_normaliser_is_honest(noise: list[float], count: float) -> None:
    """No honest run is refused."""
    made = study()
    sums = {"moments/chart": np.array([count, *noise[:2]]), "moments/panel": np.array(noise)}
    plan = RoundPlan(
        made.digest, "r", 1, 1, ("update",), (), {}, np.zeros(0, np.float32), normaliser_from_sums(made, sums)
    )
    assert set(plan.normaliser) == set(ranges(made))
    require_honest_normaliser(plan, made)
