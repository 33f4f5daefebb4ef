"""The normaliser out of summed statistics: exact without noise, harmless with any noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.statistics import normaliser_from_sums, patient_sensitivity, statistic_segments
from common.study import Study, parse_study

STUDY = """
study: demo
rounds: 1
task: {kind: binary, classes: ["0", "1"]}
secure_sum: {max_cases: 500}
modalities:
  labs:
    kind: record
    normalise: secure_sum
    numeric: {age: {low: 0, high: 120}, crp: {low: 0, high: 300}}
    categorical: {sex: [f, m]}
  vitals: {kind: record, numeric: {pulse: {low: 20, high: 220, mean: 80, sd: 15}}}
  genes: {kind: sequence, normalise: secure_sum, low: -5, high: 5, genes: [a, b, c]}
  note: {kind: note}
"""


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(STUDY)


def sums_of(study: Study, labs: np.ndarray, genes: np.ndarray) -> dict[str, np.ndarray]:
    def moments(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        u = (values - low) / (high - low)
        return np.stack([np.sum(~np.isnan(u), 0), np.nansum(u, 0), np.nansum(u**2, 0)], axis=1).reshape(-1)

    return {
        "moments/labs": moments(labs, np.zeros(2), np.array([120.0, 300.0])),
        "moments/genes": moments(genes, np.full(3, -5.0), np.full(3, 5.0)),
    }


def test_segments_are_the_documented_ones(study: Study) -> None:
    assert [(s.name, s.length, s.bound) for s in statistic_segments(study)] == [
        ("cases", 3, 500.0),
        ("present", 4, 500.0),
        ("classes", 2, 500.0),
        ("moments/labs", 6, 500.0),
        ("moments/genes", 9, 500.0),
    ]
    assert patient_sensitivity(study) == pytest.approx((1 + 4 + 1 + 3 * 5) ** 0.5)


def test_without_noise_it_is_the_pooled_mean_and_sd(study: Study) -> None:
    rng = np.random.default_rng(3)
    labs = np.clip(rng.normal([60, 40], [15, 30], (200, 2)), 0, [120, 300])
    labs[rng.random(200) < 0.3, 1] = np.nan
    genes = np.clip(rng.normal(0.5, 1.5, (200, 3)), -5, 5)
    one, other = sums_of(study, labs[:70], genes[:70]), sums_of(study, labs[70:], genes[70:])
    normaliser = normaliser_from_sums(study, {name: one[name] + other[name] for name in one})
    assert list(normaliser) == ["labs", "genes"]
    for name, values in (("labs", labs), ("genes", genes)):
        mean, sd = normaliser[name]
        np.testing.assert_allclose(mean, np.nanmean(values, 0), rtol=1e-9)
        np.testing.assert_allclose(sd, np.nanstd(values, 0, ddof=1), rtol=1e-9)


USABLE = parse_study(STUDY)


@settings(deadline=None)  # a loaded machine is slow, and that is no fault
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([0.0, 1.0, 50.0, 1e6]))
def test_whatever_the_noise_values_stay_usable(seed: int, scale: float) -> None:
    study, rng = USABLE, np.random.default_rng(seed)
    sums = {
        segment.name: rng.normal(10.0, scale, segment.length)
        for segment in statistic_segments(study)
        if segment.name.startswith("moments")
    }
    sums["moments/genes"][0] = np.nan
    for (mean, sd), low, width in zip(normaliser_from_sums(study, sums).values(), (0, -5), (300, 10), strict=True):
        assert np.all(np.isfinite(mean)) and np.all(mean >= low) and np.all(mean <= low + width)
        assert np.all(sd > 0) and np.all(sd <= width)


def test_a_constant_and_an_empty_column_do_not_blow_up(study: Study) -> None:
    labs = np.column_stack([np.full(9, 60.0), np.full(9, np.nan)])
    mean, sd = normaliser_from_sums(study, sums_of(study, labs, np.zeros((9, 3))))["labs"]
    assert mean[0] == pytest.approx(60.0)
    assert np.all(np.abs((np.array([120.0, 300.0]) - mean) / sd) < 4)
