"""Summand: what one site adds to a secure sum, as named segments of one vector.

Updates, counts, statistics and metrics travel together: one secure sum a round. Each segment has a public bound on
the absolute value of its entries, from which the fixed point's scale is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import RangeError

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Segment:
    """`length` values named `name`, each of absolute value at most `bound` at one site."""

    name: str
    length: int
    bound: float


@dataclass(frozen=True)
class Layout:
    """The order of the segments in the vector. All sites and the coordinator derive the same one from the plan."""

    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        return sum(segment.length for segment in self.segments)

    def join(self, values: Mapping[str, NDArray[Any]]) -> Vector:
        """Values by segment name -> one float64 vector. All names, and only these, with their lengths."""
        if set(values) != {segment.name for segment in self.segments}:
            raise RangeError("A summand must have exactly the plan's segments.")
        parts: list[Vector] = []
        for segment in self.segments:
            part = np.asarray(values[segment.name], dtype=np.float64).reshape(-1)
            if part.size != segment.length:
                raise RangeError(f"Segment {segment.name}: {part.size} values, the plan says {segment.length}.")
            parts.append(part)
        return np.concatenate(parts) if parts else np.zeros(0)

    def part(self, vector: Vector) -> dict[str, Vector]:
        """The reverse of `join`."""
        if vector.size != self.length:
            raise RangeError(f"A vector of {vector.size} values, the plan says {self.length}.")
        ends: Sequence[int] = np.cumsum([segment.length for segment in self.segments]).tolist()
        pieces = np.split(vector, ends)[:-1]  # the last, behind the last end, is empty
        return dict(zip((segment.name for segment in self.segments), pieces, strict=True))
