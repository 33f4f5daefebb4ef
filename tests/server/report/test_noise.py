"""What is written of a score under known noise is true of it."""

from __future__ import annotations

import numpy as np
import pytest

from common.scores import metrics, score_segments
from server.report.noise import interval, says_something, written
from server.report.text import NONE
from tests.support.tiny import study_of

STUDY = study_of("chart", privacy={"mode": "local", "sample_rate": 0.2, "expected_batch_size": 4.0}, schema=1)
CASES, SD = 400.0, 3.0


def sums(random: np.random.Generator | None) -> dict[str, np.ndarray]:
    """Of a calibrated model, with noise in every entry if there is a source of it."""
    bins = STUDY.evaluation.bins
    share = (np.arange(bins) + 0.5) / bins
    histogram = CASES / bins * np.stack([1 - share, share])
    plain = {
        "histogram": histogram.reshape(-1),
        "cases": CASES,
        "correct": 0.75 * CASES,
        "log_loss": 8.0,
        "brier": 70.0,
    }
    found = {name: np.atleast_1d(np.asarray(value, np.float64)) for name, value in plain.items()}
    noise = {name: random.normal(0, SD, value.shape) if random else 0.0 for name, value in found.items()}
    return {f"scores/{name}": value + noise[name] for name, value in found.items()}


def test_the_written_interval_of_each_measure_holds_the_true_value() -> None:
    """Noise only ever adds to a calibration error: .2 was written as the interval of a model whose error is 0."""
    assert {segment.name for segment in score_segments(STUDY)} == set(sums(None))
    true, random = metrics(STUDY, sums(None)), np.random.default_rng(0)
    for key in ("auc", "accuracy", "brier", "log_loss", "calibration_error"):
        held = 0
        for _ in range(200):
            low, high = interval(metrics(STUDY, sums(random), SD), key) or (1.0, 0.0)
            held += low <= true[key] <= high
        assert held >= 0.93 * 200, (key, held)


def test_an_interval_of_everything_is_a_dash_and_none_leaves_the_range() -> None:
    noisy = {"calibration_error": 1.54, "accuracy": 0.9, "auc": 0.4, "auc_noise": float("inf"), "share_noise": 0.41}
    assert written(noisy, "calibration_error") == NONE == written(noisy, "auc")
    assert written(noisy, "accuracy") == "0.49 to 1.00"
    assert interval({"calibration_error": 1.05, "share_noise": 0.02}, "calibration_error") == pytest.approx((0.95, 1.0))


@pytest.mark.parametrize(("key", "value"), [("calibration_error", 3.39), ("accuracy", 1.5), ("brier", -0.9)])
@pytest.mark.parametrize("noise", [0.369, 0.005])
def test_what_noise_took_out_of_its_range_is_known_by_nobody(key: str, value: float, noise: float) -> None:
    """It was written as the worst value there is, known for certain: "1.00 to 1.00"."""
    found = {key: value, "share_noise": noise}
    if noise < 0.1 or key == "calibration_error":
        assert written(found, key) == NONE
    assert not says_something(found, key)
    assert (ends := interval(found, key)) is None or ends[0] < ends[1]
