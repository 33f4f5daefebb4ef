"""Summand: what one site adds to a secure sum, as named segments of one vector.

Updates, counts, statistics and metrics travel together: one secure sum a round. Each segment has a public bound on
the absolute value of its entries, from which the fixed point's scale is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
class Part:
    """The values of a segment: `factor` times each entry of `values`, which are neither copied nor changed."""

    segment: Segment
    values: NDArray[np.floating[Any]] = field(repr=False)
    factor: float = field(default=1.0, repr=False)


@dataclass(frozen=True)
class Summand:
    """What one site adds, segment by segment, in the order of a layout."""

    parts: tuple[Part, ...]

    @property
    def length(self) -> int:
        return sum(part.segment.length for part in self.parts)


@dataclass(frozen=True)
class Layout:
    """The order of the segments in the vector. All sites and the coordinator derive the same one from the plan."""

    segments: tuple[Segment, ...]

    @property
    def length(self) -> int:
        return sum(segment.length for segment in self.segments)

    def summand(self, values: Mapping[str, NDArray[Any] | tuple[NDArray[Any], float]]) -> Summand:
        """Values by segment name, each an array or an array with a factor. All names, and only these, with their
        lengths: RangeError for any other. float32 and float64 are taken as they are.
        """
        if set(values) != {segment.name for segment in self.segments}:
            raise RangeError("A summand must have exactly the plan's segments.")
        return Summand(tuple(_part(segment, values[segment.name]) for segment in self.segments))

    def join(self, values: Mapping[str, NDArray[Any] | tuple[NDArray[Any], float]]) -> Vector:
        """The same as one float64 vector (n,)."""
        parts = [part.values.astype(np.float64) * part.factor for part in self.summand(values).parts]
        return np.concatenate(parts) if parts else np.zeros(0)

    def part(self, vector: Vector) -> dict[str, Vector]:
        """The reverse of `join`."""
        if vector.size != self.length:
            raise RangeError(f"A vector of {vector.size} values, the plan says {self.length}.")
        ends: Sequence[int] = np.cumsum([segment.length for segment in self.segments]).tolist()
        pieces = np.split(vector, ends)[:-1]  # the last, behind the last end, is empty
        return dict(zip((segment.name for segment in self.segments), pieces, strict=True))


def _part(segment: Segment, value: NDArray[Any] | tuple[NDArray[Any], float]) -> Part:
    array, factor = value if isinstance(value, tuple) else (value, 1.0)
    flat = np.asarray(array).reshape(-1)
    if flat.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        flat = flat.astype(np.float64)
    if flat.size != segment.length:
        raise RangeError(f"Segment {segment.name}: {flat.size} values, the plan says {segment.length}.")
    return Part(segment, flat, float(factor))
