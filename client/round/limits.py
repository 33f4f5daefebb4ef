"""What of a round's plan no honest coordinator sends: refused before data is read and before anything is charged."""

from __future__ import annotations

import numpy as np

from common.errors import RunError
from common.plan import RoundPlan
from common.statistics import ranges
from common.study import Study

# Of a weight, in either direction. A start, also a pretrained one, is below 100; a network that has grown to this has
# diverged, and its training says nothing. Noise protects whatever the weights are: this is the second lock.
LARGEST_WEIGHT = 1e4
_ROUNDING = 1e-9  # of a column's range: what float64 may lose between the coordinator's sum and this comparison


def require_honest_weights(plan: RoundPlan, study: Study) -> None:
    """RunError for weights that are not finite, or, in a private study, beyond LARGEST_WEIGHT."""
    if not np.isfinite(plan.weights).all():
        raise RunError("The plan's weights are not finite numbers.")
    if study.private and plan.weights.size and float(np.abs(plan.weights).max()) > LARGEST_WEIGHT:
        raise RunError(
            f"The plan's weights are beyond {LARGEST_WEIGHT:g}, which no network that learns reaches. "
            "If the run diverged, lower training.learning_rate."
        )


def require_honest_normaliser(plan: RoundPlan, study: Study) -> None:
    """RunError for a normaliser that `normaliser_from_sums` does not make, whatever the sums are.

    It has only modalities that are normalised by the secure sum, a mean within [low, high] of each column and an sd
    within (0, high - low].
    """
    known = ranges(study)
    for name, (mean, sd) in plan.normaliser.items():
        if name not in known:
            raise RunError(f"The plan's normaliser names {name}, which this study does not normalise by secure sums.")
        low, high = known[name]
        if mean.shape != low.shape or sd.shape != low.shape:
            raise RunError(f"The plan's normaliser of {name} does not have the study's columns.")
        slack = (high - low) * _ROUNDING
        right = (low - slack <= mean) & (mean <= high + slack) & (sd > 0) & (sd <= high - low + slack)
        if not right.all():  # NaN is in no range
            raise RunError(f"The plan's normaliser of {name} lies outside of what sums over patients can give.")
