"""Statistics of the cohorts, summed over sites: their segments, what one patient can change, and the normaliser.

Every site adds, as float64:

    cases               (3,)    patients in train, validation and test
    present             (M,)    patients who have each modality
    classes             (K,)    training patients of each group of the task, as a class
    moments/<modality>  (3 P,)  training patients only; for each numeric column or gene the number of values, the sum
                                of u and the sum of u squared, where u = (x - low) / (high - low) is in [0, 1]

A modality with too few owners is left out of the plan's groups: it has no moments, and nobody counts it as present,
for the sum would be one site's. A value in [0, 1] gives every sum a bound that is public: the largest number of cases
of a site.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.study import Study
from common.summand import Segment

Vector = NDArray[np.float64]

# The standard deviation of a uniform value in [0, 1]: the fallback where the sums tell none.
_UNIFORM_SD = 1 / math.sqrt(12)
_SMALLEST_VARIANCE = 1e-6


def ranges(study: Study) -> dict[str, tuple[Vector, Vector]]:
    """Modality -> (low, high) of its P columns, for the modalities that a secure sum normalises."""
    found: dict[str, tuple[Vector, Vector]] = {}
    for name, modality in study.modalities.items():
        if modality.ranges is not None:
            low, high = modality.ranges
            found[name] = (np.array(low, dtype=np.float64), np.array(high, dtype=np.float64))
    return found


def statistic_segments(study: Study, groups: Collection[str] | None = None) -> tuple[Segment, ...]:
    """The segments of a plan with these groups (or with all), bounded by the largest cohort that the study allows."""
    bound = float(study.secure_sum.max_cases)
    lengths = {"cases": 3, "present": len(study.names), "classes": len(study.task.groups)}
    summed = study.names if groups is None else groups
    lengths |= {f"moments/{name}": 3 * low.size for name, (low, _) in ranges(study).items() if name in summed}
    return tuple(Segment(name, length, bound) for name, length in lengths.items())


def patient_sensitivity(study: Study) -> float:
    """Largest L2 change of the whole statistics vector when one patient is added or removed.

    A patient is one case. It adds 1 to one entry of `cases`, at most 1 to each of the M entries of `present`, 1 to
    G entries of `classes` at most (one, where the target is one of K classes), and for each of the P normalised columns
    (1, u, u²) with u in [0, 1], so at most 3 to the square: sqrt(1 + M + G + 3 P).
    """
    columns = sum(low.size for low, _ in ranges(study).values())
    return math.sqrt(1 + study.task.most_groups + len(study.names) + 3 * columns)


def summed_noise(study: Study, sites: int) -> float:
    """The standard deviation of the noise in each entry of statistics that were summed over so many sites; 0 without
    privacy. Each site adds noise of its own, with or without patients.
    """
    each = study.privacy.statistics_noise_multiplier * patient_sensitivity(study) if study.private else 0.0
    return each * math.sqrt(sites)


def normaliser_from_sums(study: Study, sums: Mapping[str, NDArray[Any]]) -> dict[str, tuple[Vector, Vector]]:
    """Modality -> (mean, sd) of its columns in the columns' own units, sd with ddof 1.

    A modality without moments has no entry. Without noise this is the pooled mean and standard deviation. Noise may
    make a count negative or a variance impossible; whatever the sums are, the result is finite, mean within
    [low, high] and sd within (0, high - low].
    A column that varies too little to tell (or has fewer than two values) gets the sd of a uniform one, so that its
    values stay small.
    """
    return {
        name: _normaliser(np.asarray(sums[f"moments/{name}"], dtype=np.float64).reshape(-1, 3), low, high)
        for name, (low, high) in ranges(study).items()
        if f"moments/{name}" in sums
    }


def _normaliser(moments: Vector, low: Vector, high: Vector) -> tuple[Vector, Vector]:
    moments = np.nan_to_num(moments, nan=0.0, posinf=0.0, neginf=0.0)
    count, first, second = moments.T
    enough = count >= 2
    number = np.where(enough, count, 2.0)
    mean = np.where(enough, np.clip(first / number, 0.0, 1.0), 0.5)
    variance = (second - number * mean**2) / (number - 1.0)
    told = enough & (variance > _SMALLEST_VARIANCE)
    sd = np.where(told, np.sqrt(np.clip(variance, _SMALLEST_VARIANCE, 1.0)), _UNIFORM_SD)
    return low + (high - low) * mean, (high - low) * sd
