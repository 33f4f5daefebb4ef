"""The known noise of privacy in a score: which scores say something, and how the others are written.

`common.tasks.Metrics` has the half width of the 95 % interval that the noise alone makes: `auc_noise` of the AUC,
`share_noise` of what is a share of the cases. Figures of release 0.1 have neither, and are shown as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from common.measures import LOG_LOSS_CAP
from server.report import text

WIDEST = 0.1  # of an interval, for a score to be drawn as one
_OF_ONE = ("auc", "accuracy", "calibration_error")  # never above 1
# The calibration error is a sum of distances over ten bins, and noise only ever adds to a distance: 8 standard
# deviations of an entry in the mean, of all ten, and up to 12 with a certainty of 95 %. `share_noise` is 2.8 of them.
_BINS = 5.0


def half_width(metrics: Mapping[str, float], key: str) -> float:
    """Half of the 95 % interval that known noise makes of this measure; 0 where there is none."""
    if key == "auc":
        return metrics.get("auc_noise", 0.0)
    return metrics.get("share_noise", 0.0) * {"log_loss": LOG_LOSS_CAP, "calibration_error": _BINS}.get(key, 1.0)


def interval(metrics: Mapping[str, float], key: str) -> tuple[float, float] | None:
    """The measure's interval by its known noise, within what it can be; None without noise, or without a value. All
    that it can be where noise took it so far outside that no value explains it.
    """
    value, half = metrics.get(key, math.nan), half_width(metrics, key)
    if not half or math.isnan(value):
        return None
    high = 1.0 if key in _OF_ONE else math.inf
    if value - half >= high or value + half <= 0:
        return 0.0, high
    return max(0.0, value - half), min(high, value + half)


def says_something(metrics: Mapping[str, float], key: str) -> bool:
    """Whether the measure is a number whose known noise is no wider than `WIDEST`."""
    wide = 2 * half_width(metrics, key) / (LOG_LOSS_CAP if key == "log_loss" else 1.0)
    outside = interval(metrics, key) == (0.0, 1.0 if key in _OF_ONE else math.inf)
    return math.isfinite(metrics.get(key, math.nan)) and wide <= WIDEST and not outside


def written(metrics: Mapping[str, float], key: str, digits: int = 3) -> str:
    """The measure as a number; as its interval where the noise is wider; a dash where it says nothing at all."""
    ends = interval(metrics, key)
    if says_something(metrics, key) or ends is None:
        return text.number(metrics.get(key), digits)
    if not all(map(math.isfinite, ends)) or (key in _OF_ONE and ends == (0.0, 1.0)):
        return text.NONE
    return f"{text.number(ends[0], 2)} to {text.number(ends[1], 2)}"
