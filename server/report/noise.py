"""The known noise of privacy in a score: which scores say something, and how the others are written.

Beside each measure of a task stands the half width of the 95 % interval that the noise alone makes
(`common.tasks.measure.Measure`): `auc_noise` of the AUC, `share_noise` of what is a share of the cases. Figures of
release 0.1 have neither, and are shown as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from common.tasks import measure_of
from server.report import text

WIDEST = 0.1  # of an interval, for a score to be drawn as one


def half_width(metrics: Mapping[str, float], key: str) -> float:
    """Half of the 95 % interval that known noise makes of this measure; 0 where there is none."""
    measure = measure_of(key)
    return metrics.get(measure.noise, 0.0) * measure.times


def interval(metrics: Mapping[str, float], key: str) -> tuple[float, float] | None:
    """The measure's interval by its known noise, within what it can be; None without noise, or without a value. All
    that it can be where noise took it so far outside that no value explains it.
    """
    value, half = metrics.get(key, math.nan), half_width(metrics, key)
    if not half or math.isnan(value):
        return None
    high = measure_of(key).most
    if value - half >= high or value + half <= 0:
        return 0.0, high
    return max(0.0, value - half), min(high, value + half)


def says_something(metrics: Mapping[str, float], key: str) -> bool:
    """Whether the measure is a number whose known noise is no wider than `WIDEST`."""
    measure = measure_of(key)
    wide = 2 * half_width(metrics, key) / measure.unit
    outside = interval(metrics, key) == (0.0, measure.most)
    return math.isfinite(metrics.get(key, math.nan)) and wide <= WIDEST and not outside


def written(metrics: Mapping[str, float], key: str, digits: int = 3) -> str:
    """The measure as a number; as its interval where the noise is wider; a dash where it says nothing at all."""
    ends = interval(metrics, key)
    if says_something(metrics, key) or ends is None:
        return text.number(metrics.get(key), digits)
    if not all(map(math.isfinite, ends)) or ends == (0.0, measure_of(key).most):
        return text.NONE
    return f"{text.number(ends[0], 2)} to {text.number(ends[1], 2)}"
