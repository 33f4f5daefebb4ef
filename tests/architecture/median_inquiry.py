"""An inquiry that wardround has not: the median of a column, by halving its range sum after sum. A test puts this file
into a copy of the product.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from common.inquiries.inquiry import CohortPart, Finding
from common.schema import schema
from common.summand import Segment
from common.value_types import Count, Name, Positive

if TYPE_CHECKING:
    from common.inquiries.inquiry import Opened
    from common.modalities import Modality

_FURTHEST = 12  # standard deviations; beyond, 64 bits have no chance left to give


@dataclass(frozen=True)
class IntegerNoise:
    """The discrete Gaussian (Canonne et al. 2020), from a table of 64-bit chances and the operating system's bits."""

    sd: float

    @property
    def tail(self) -> float:
        return math.ceil(_FURTHEST * self.sd)

    def added_to(self, values: NDArray[Any]) -> NDArray[np.float64]:
        places = np.arange(-self.tail, self.tail + 1)
        chances = np.cumsum(np.exp(-(places**2) / (2 * self.sd**2)))
        bits = np.frombuffer(os.urandom(8 * values.size), dtype=np.uint64).astype(np.float64) / 2**64
        drawn = places[np.minimum(np.searchsorted(chances / chances[-1], bits), places.size - 1)]
        return np.rint(values) + drawn.reshape(values.shape).astype(np.float64)


@schema
class Median:
    """The median of a record's column among training and test patients who have a value."""

    kind: Literal["median"]
    modality: Name
    column: Name
    low: float
    high: float
    sums: Count = 6
    noise_multiplier: Positive = 4.0

    parts: ClassVar[tuple[CohortPart, ...]] = ("train", "test")
    accountants: ClassVar[tuple[str, ...]] = ("rdp",)

    def problem(self, modalities: Mapping[str, Modality]) -> str:
        modality = modalities.get(self.modality)
        return "" if self.column in getattr(modality, "numeric", {}) else "there is no such column in the study"

    def segments(self, modalities: Mapping[str, Modality], bound: float) -> tuple[Segment, ...]:
        return (Segment("below", 1, bound), Segment("known", 1, bound))

    def noise(self, modalities: Mapping[str, Modality]) -> IntegerNoise:
        return IntegerNoise(self.noise_multiplier * math.sqrt(2))  # one patient adds at most 1 to each of two counts

    def middle(self, opened: Opened) -> float:
        """Return the value at which the next sum counts: the middle of where the median is, by the sums before."""
        low, high = self.low, self.high
        for sums in opened:
            middle = (low + high) / 2
            low, high = (low, middle) if 2 * sums["below"][0] >= sums["known"][0] else (middle, high)
        return (low + high) / 2

    def found(self, opened: Opened) -> tuple[Finding, ...]:
        known = float(np.mean([sums["known"][0] for sums in opened]))
        return Finding("median", self.middle(opened)), Finding("patients with a value", known, counts=True)

    @property
    def described(self) -> str:
        return f"finds the median of {self.column!r}"
