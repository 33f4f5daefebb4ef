"""The known noise of privacy in a count of patients: which counts are numbers, and how the others are written.

A count of a private run is a sum with normal noise of a known standard deviation. It is a number where its 95 %
interval is no wider than a tenth of it; else it is that interval, cut to what a count can be; and where the interval
is all that it can be, the noise hides it. A deviation of 0 is a count that is exact, or one of release 0.1, and is
shown as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from common.tasks.measure import NORMAL_95
from server.report import text
from server.report.noise import WIDEST

HIDDEN = "hidden by the noise"


def half_of(sd: float, counts: int = 1) -> float:
    """Half of the 95 % interval of the sum of so many counts, each with noise of this standard deviation."""
    return NORMAL_95 * sd * math.sqrt(counts)


def wider_than(sd: float, width: float) -> bool:
    """Whether the 95 % interval of a count with this noise is wider than so many patients."""
    return 2 * half_of(sd) > width


def is_number(count: float, half: float) -> bool:
    """Whether the count is exact, or its interval no wider than a tenth of it."""
    return not half or 2 * half <= WIDEST * count


def ends_of(count: float, half: float, most: float = math.inf) -> tuple[float, float] | None:
    """The count's 95 % interval, whole and within 0 and `most`; None where it says nothing: where it is all of that,
    or where noise took the count so far outside that no value explains it.
    """
    low, high = count - half, count + half
    if not math.isfinite(count) or high <= 0 or low >= most or (low <= 0 and high >= most):
        return None
    return float(max(0, math.floor(low))), min(math.ceil(high), most)


def written_count(count: float | str | None, half: float = 0.0, most: float = math.inf) -> str:
    """The count as a number; as its interval where the noise is wider; or that the noise hides it."""
    if isinstance(count, str) or count is None or not half:
        return text.count(count)
    if is_number(count, half) and count <= most:
        return text.count(count)
    ends = ends_of(count, half, most)
    return HIDDEN if ends is None else f"{text.count(ends[0])} to {text.count(ends[1])}"


def share_ends(part: float, half: float, whole: float, whole_half: float) -> tuple[float, float]:
    """An interval of at least 95 % for the share of a noisy count in a noisy total, within 0 and 1."""
    low = max(0.0, part - half) / (whole + whole_half) if whole + whole_half > 0 else 0.0
    high = (part + half) / (whole - whole_half) if whole > whole_half else 1.0
    return min(1.0, low), min(1.0, max(0.0, high))


def half_of_cases(metrics: Mapping[str, float]) -> float:
    """Half of the 95 % interval of the cases of a score; 0 without noise, and infinite where the noise may be all that
    there is. `share_noise` (see `common.tasks.class_scores`) is the noise of two counts over the cases.
    """
    noise = metrics.get("share_noise", 0.0)
    return noise * metrics.get("cases", math.nan) / math.sqrt(2) if math.isfinite(noise) else noise


def written_cases(metrics: Mapping[str, float]) -> str:
    """The cases of a score, as `written_count` has them."""
    half = half_of_cases(metrics)
    return HIDDEN if math.isinf(half) else written_count(metrics.get("cases"), half)
