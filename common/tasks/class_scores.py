"""The arithmetic of tasks of classes: the loss of a row, and scores as sums, so that they can be added up across sites.

A site adds five segments. One patient changes each entry by at most 1, so that one noise fits all of them:

    scores/histogram  (S, 2, bins) counts: for each score, cases without and with its class, by predicted probability.
                      S = 1 for a binary task (the positive class's probability), K for K classes (one against the rest)
    scores/cases      number of cases
    scores/correct    number of cases whose most probable class is theirs (binary: positive from 0.5 on)
    scores/log_loss   sum of min(cross entropy, LOG_LOSS_CAP) / LOG_LOSS_CAP
    scores/brier      sum of squared errors of the probabilities (Brier 1950), over 2 for K classes: at most 1 a case

What is made of them; nan where it is not defined (no cases, or none of one class):

    auc                area under the ROC curve, ties as half; for K classes the mean over classes, one against the rest
    log_loss           mean cross entropy in nats, each case capped at LOG_LOSS_CAP
    brier              mean squared error of the probability; for K classes summed over classes, so at most 2
    calibration_error  expected calibration error; for K classes the mean over classes
    rarest             cases of the rarest class of those that have any
    auc_noise          half the width of the 95 % interval that the known noise of privacy alone makes of `auc`; 0
                       without, infinite where the noise may be all that there is
    share_noise        the same, at most, of what is a share of the cases: accuracy, brier, calibration_error, and
                       log_loss over LOG_LOSS_CAP
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from common.layers.perceptron import perceptron
from common.tasks.classes import LOG_LOSS_CAP
from common.tasks.measure import NORMAL_95

CLEARLY = 2.0  # so many standard deviations of its noise a class has at least, for an AUC to say anything
CALIBRATION_BINS = 10  # Naeini et al. 2015; the histogram's finer bins are merged into these

Counts = NDArray[np.float64]


def head(width: int, hidden: int, outputs: int) -> nn.Module:
    """Return a perceptron (B, width) -> (B, outputs) that prefers no class at the start."""
    found = perceptron([width, *([hidden] if hidden else []), outputs])
    last = found[-1]
    if isinstance(last, nn.Linear):
        nn.init.zeros_(last.bias)
    return found


def loss_rows(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross entropy in nats, one number a row: (B, 1) or (B, K) logits, int64 (B,) classes -> (B,)."""
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), target.to(logits.dtype), reduction="none")
    return F.cross_entropy(logits, target, reduction="none")


def counts_of(targets: NDArray[Any], classes: int) -> Counts:
    """Return how many of these targets (B,) are of each class, float64 (K,)."""
    return np.bincount(np.asarray(targets), minlength=classes).astype(np.float64)


# ---------------------------------------------------------------------------------------------------- sums at a site


def score_sums(logits: Tensor, target: Tensor, classes: int, bins: int) -> dict[str, Counts]:
    """Return the segments for these cases, as float64. A logit that is not finite counts as 0: it says nothing.

    logits (B, 1) or (B, K), target int64 (B,), on any device; B may be 0.
    """
    logits = torch.nan_to_num(logits.detach().double().cpu(), nan=0.0, posinf=1e3, neginf=-1e3)
    target = target.detach().cpu()
    is_binary = logits.shape[1] == 1
    shares = torch.sigmoid(logits) if is_binary else torch.softmax(logits, dim=1)  # (B, S)
    truth = target[:, None].double() if is_binary else F.one_hot(target, classes).double()  # (B, S)
    loss = loss_rows(logits, target).clamp(max=LOG_LOSS_CAP)
    predicted = (shares[:, 0] >= 0.5).long() if is_binary else shares.argmax(dim=1)
    squares = (shares - truth).square().sum(dim=1) / _brier_most(logits.shape[1])
    return {
        "scores/histogram": _histogram(shares, truth.long(), bins),
        "scores/cases": np.array([float(len(target))]),
        "scores/correct": np.array([float((predicted == target).sum())]),
        "scores/log_loss": np.array([float(loss.sum()) / LOG_LOSS_CAP]),
        "scores/brier": np.array([float(squares.sum())]),
    }


def _brier_most(outputs: int) -> float:
    return 1.0 if outputs == 1 else 2.0


def _histogram(shares: Tensor, truth: Tensor, bins: int) -> Counts:
    """(B, S) probabilities and classes -> S * 2 * bins counts."""
    scores = shares.shape[1]
    bin_of = (shares * bins).long().clamp(0, bins - 1)
    place = (torch.arange(scores) * 2 + truth) * bins + bin_of
    return torch.bincount(place.reshape(-1), minlength=scores * 2 * bins).numpy().astype(np.float64)


# ------------------------------------------------------------------------------------------------ metrics from sums


def scores_of(sums: Mapping[str, Counts], outputs: int, bins: int, sd: float, *, clipped: bool) -> dict[str, float]:
    """Return the measures of summed `score_sums`, other segments ignored. Noise may have made entries negative.

    sd: of the noise in each entry. Ratios are kept in their range, and with less than half a case nothing is defined.
    clipped: negative counts of the histogram are 0, which makes patients of noise
    """
    cases, correct, loss, brier = (
        max(0.0, float(sums[f"scores/{name}"][0])) for name in ("cases", "correct", "log_loss", "brier")
    )
    noisy = sums["scores/histogram"].reshape(outputs, 2, bins)
    histogram = np.clip(noisy, 0.0, None) if clipped else noisy
    return {
        "cases": cases,
        "auc": _mean([_auc(negative, positive) for negative, positive in histogram]),
        "accuracy": _ratio(correct, cases),
        "log_loss": _ratio(loss, cases) * LOG_LOSS_CAP,
        "brier": _ratio(brier, cases) * _brier_most(outputs),
        "calibration_error": _mean([_calibration_error(negative, positive) for negative, positive in histogram]),
        "auc_noise": _auc_noise(noisy, sd) if sd else 0.0,
        "share_noise": _share_noise(cases, sd) if sd else 0.0,
        "rarest": _rarest(noisy),
    }


def _rarest(histogram: Counts) -> float:
    """The least of the cases of each class with at least half a case, of (S, 2, bins) counts."""
    cases = histogram.sum(axis=2)
    classes = cases[0] if len(cases) == 1 else cases[:, 1]
    return float(min(classes[classes >= 0.5], default=math.nan))


def _ratio(part: float, whole: float) -> float:
    return min(1.0, part / whole) if whole >= 0.5 else math.nan


def _mean(values: list[float]) -> float:
    """Over those that are defined."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _auc(negative: Counts, positive: Counts) -> float:
    """The chance that a positive case stands in a higher bin than a negative one, one bin as half (Mann-Whitney)."""
    if negative.sum() < 0.5 or positive.sum() < 0.5:
        return math.nan
    below = np.cumsum(negative) - negative
    return min(1.0, max(0.0, float(positive @ (below + negative / 2) / (positive.sum() * negative.sum()))))


def _share_noise(cases: float, sd: float) -> float:
    """Half of the 95 % interval of a noisy count over the noisy number of cases, for a share of 1."""
    return NORMAL_95 * sd * math.sqrt(2) / cases if cases > CLEARLY * sd else math.inf


def _auc_noise(histogram: Counts, sd: float) -> float:
    """Half of the 95 % interval of the mean AUC of (S, 2, bins) counts with independent noise of this deviation.

    By its derivatives after each count (the delta method), which asks that each class has far more patients than the
    noise of its whole histogram; infinite where it has not.
    """
    if (histogram.sum(axis=2) < CLEARLY * sd * math.sqrt(histogram.shape[2])).any():
        return math.inf
    slopes = math.sqrt(sum(_squared_slope(negative, positive) for negative, positive in histogram))
    return NORMAL_95 * sd * slopes / len(histogram)


def _squared_slope(negative: Counts, positive: Counts) -> float:
    """Sum of the squares of the derivatives of the AUC after each count."""
    n, p = negative.sum(), positive.sum()
    below, above = np.cumsum(negative) - negative / 2, np.cumsum(positive[::-1])[::-1] - positive / 2
    area = float(positive @ below) / (n * p)
    after_positive, after_negative = below / (n * p) - area / p, above / (n * p) - area / n
    return float(np.square(after_positive).sum() + np.square(after_negative).sum())


def _calibration_error(negative: Counts, positive: Counts) -> float:
    """Mean distance, over cases, of the observed rate from the predicted one in CALIBRATION_BINS bins of the score."""
    bins = len(negative)
    if (negative + positive).sum() < 0.5:
        return math.nan
    centre = (np.arange(bins) + 0.5) / bins
    group = (centre * CALIBRATION_BINS).astype(np.int64)
    expected = np.bincount(group, weights=centre * (negative + positive))
    observed = np.bincount(group, weights=positive)
    return float(np.abs(observed - expected).sum() / (negative + positive).sum())
