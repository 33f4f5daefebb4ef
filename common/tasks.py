"""Tasks: the loss of a row, and metrics as sums, so that they can be added up across sites.

A site adds five segments. One patient changes each entry by at most 1, so that one noise fits all of them:

    scores/histogram  (S, 2, bins) counts: for each score, cases without and with its class, by predicted probability.
                      S = 1 for a binary task (the positive class's probability), K for K classes (one against the rest)
    scores/cases      number of cases
    scores/correct    number of cases whose most probable class is theirs (binary: positive from 0.5 on)
    scores/log_loss   sum of min(cross entropy, LOG_LOSS_CAP) / LOG_LOSS_CAP
    scores/brier      sum of squared errors of the probabilities (Brier 1950), over 2 for K classes: at most 1 a case
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from common.measures import LOG_LOSS_CAP, NORMAL_95
from common.study import Study
from common.summand import Segment

CLEARLY = 2.0  # so many standard deviations of its noise a class has at least, for an AUC to say anything
CALIBRATION_BINS = 10  # Naeini et al. 2015; the histogram's finer bins are merged into these

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """What a score says; nan where it is not defined (no cases, or none of one class).

    auc_noise: half the width of the 95 % interval that the known noise of privacy alone makes of `auc`; 0 without,
        infinite where the noise may be all that there is. share_noise: the same, at most, of what is a share of the
        cases: accuracy, brier, calibration_error, and log_loss over LOG_LOSS_CAP

    auc: area under the ROC curve, ties as half; for K classes the mean over classes, one against the rest
    log_loss: mean cross entropy in nats, each case capped at LOG_LOSS_CAP
    brier: mean squared error of the probability; for K classes summed over classes, so at most 2
    calibration_error: expected calibration error; for K classes the mean over classes
    rarest: cases of the rarest class of those that have any
    """

    cases: float
    auc: float
    accuracy: float
    log_loss: float
    brier: float
    calibration_error: float
    auc_noise: float = 0.0
    share_noise: float = 0.0
    rarest: float = math.nan


def loss_rows(study: Study, logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy in nats, one number a row: (B, 1) or (B, K) logits, int64 (B,) classes -> (B,)."""
    if study.task.kind == "binary":
        return F.binary_cross_entropy_with_logits(logits.squeeze(1), target.to(logits.dtype), reduction="none")
    return F.cross_entropy(logits, target, reduction="none")


# ---------------------------------------------------------------------------------------------------- sums at a site


def score_segments(study: Study) -> tuple[Segment, ...]:
    """The segments of `score_sums`, each bounded by the most cases that a site may have."""
    bound = float(study.secure_sum.max_cases)
    histogram = Segment("scores/histogram", _scores(study) * 2 * study.evaluation.bins, bound)
    return (histogram, *(Segment(f"scores/{name}", 1, bound) for name in ("cases", "correct", "log_loss", "brier")))


def score_sensitivity(study: Study) -> float:
    """The most, in L2 norm over all segments together, that adding or removing one patient changes `score_sums`.

    One case puts 1 into one bin of each of the S histograms, 1 into `cases`, and at most 1 into each of `correct`,
    `log_loss` and `brier`: sqrt(S + 4). That is 2.24 for a binary task.
    """
    return math.sqrt(_scores(study) + 4)


def score_sums(study: Study, logits: Tensor, target: Tensor) -> dict[str, Counts]:
    """The segments for these cases, as float64. A logit that is not finite counts as 0: it says nothing.

    logits (B, 1) or (B, K), target int64 (B,), on any device; B may be 0.
    """
    logits = torch.nan_to_num(logits.detach().double().cpu(), nan=0.0, posinf=1e3, neginf=-1e3)
    target = target.detach().cpu()
    shares, truth = _probabilities(study, logits), _truth(study, target)
    loss = loss_rows(study, logits, target).clamp(max=LOG_LOSS_CAP)
    predicted = (shares[:, 0] >= 0.5).long() if study.task.kind == "binary" else shares.argmax(dim=1)
    squares = (shares - truth).square().sum(dim=1) / _brier_most(study)
    return {
        "scores/histogram": _histogram(shares, truth.long(), study.evaluation.bins),
        "scores/cases": np.array([float(len(target))]),
        "scores/correct": np.array([float((predicted == target).sum())]),
        "scores/log_loss": np.array([float(loss.sum()) / LOG_LOSS_CAP]),
        "scores/brier": np.array([float(squares.sum())]),
    }


def _scores(study: Study) -> int:
    return 1 if study.task.kind == "binary" else len(study.task.classes)


def _brier_most(study: Study) -> float:
    return 1.0 if study.task.kind == "binary" else 2.0


def _probabilities(study: Study, logits: Tensor) -> Tensor:
    """(B, S)"""
    return torch.sigmoid(logits) if study.task.kind == "binary" else torch.softmax(logits, dim=1)


def _truth(study: Study, target: Tensor) -> Tensor:
    """(B, S), 1.0 where the score's class is the case's."""
    if study.task.kind == "binary":
        return target[:, None].double()
    return F.one_hot(target, len(study.task.classes)).double()


def _histogram(shares: Tensor, truth: Tensor, bins: int) -> Counts:
    """(B, S) probabilities and classes -> S * 2 * bins counts."""
    scores = shares.shape[1]
    bin_of = (shares * bins).long().clamp(0, bins - 1)
    place = (torch.arange(scores) * 2 + truth) * bins + bin_of
    return torch.bincount(place.reshape(-1), minlength=scores * 2 * bins).numpy().astype(np.float64)


# ------------------------------------------------------------------------------------------------ metrics from sums


def metrics(study: Study, sums: Mapping[str, Counts], sd: float = 0.0) -> Metrics:
    """Metrics from summed `score_sums`, other segments ignored. Noise may have made entries negative or unlike.

    sd: of the noise in each entry. Ratios are kept in their range, and with less than half a case nothing is defined.
    A private study of schema 1 takes the bins as they are: cut off at 0, noise would become patients. Those of schema 0
    keep 0.1's figures, in which negative counts are 0.
    """
    cases, correct, loss, brier = (
        max(0.0, float(sums[f"scores/{name}"][0])) for name in ("cases", "correct", "log_loss", "brier")
    )
    noisy = sums["scores/histogram"].reshape(_scores(study), 2, study.evaluation.bins)
    histogram = noisy if study.private and study.schema >= 1 else np.clip(noisy, 0.0, None)
    return Metrics(
        cases=cases,
        auc=_mean([_auc(negative, positive) for negative, positive in histogram]),
        accuracy=_ratio(correct, cases),
        log_loss=_ratio(loss, cases) * LOG_LOSS_CAP,
        brier=_ratio(brier, cases) * _brier_most(study),
        calibration_error=_mean([_calibration_error(negative, positive) for negative, positive in histogram]),
        auc_noise=_auc_noise(noisy, sd) if sd else 0.0,
        share_noise=_share_noise(cases, sd) if sd else 0.0,
        rarest=_rarest(noisy),
    )


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
