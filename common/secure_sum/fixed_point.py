"""Real numbers <-> words of the ring 2^k, with room for every site, so that a sum never wraps.

A segment whose entries are at most `bound` at a site is multiplied by its scale and rounded to an integer; the scale is
the largest power of two for which |R| such integers, rounded up, add up to at most 2^(k-1) - 1. Negative integers are
residues modulo 2^k. With a scale of at least 1 integers are exact.

Rounding is stochastic and unbiased, in float64: y becomes floor(y) + 1 with probability y - floor(y), else floor(y).
Every operation before the comparison is exact (a power of two, a floor, a difference of near numbers), and the uniform
draw has 53 bits, so the bias is at most 2^-53 of a step. Its bits come from the caller's generator, apart from masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil, frexp, ldexp

import numpy as np
from numpy.typing import NDArray

from common.errors import RangeError
from common.secure_sum.messages import MAX_BITS, MIN_BITS
from common.secure_sum.packing import pack, unpack
from common.summand import Layout, Segment, Vector

__all__ = ["FixedPoint", "pack", "unpack"]

_BLOCK = 1 << 15  # values at a time: what rounding needs beside them stays in the cache
_MIN_BOUND, _MAX_BOUND = 2.0**-500, 2.0**500  # so that a scale and its reciprocal are normal numbers


@dataclass(frozen=True)
class FixedPoint:
    """The same at every site and at the coordinator. `sites` is |R|: the most that can be in a sum."""

    layout: Layout
    bits: int = field(kw_only=True)
    sites: int = field(kw_only=True)

    def __post_init__(self) -> None:
        """RangeError for a width outside 16 to 32, too many sites for it, or a bound that is not a positive number."""
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise RangeError(f"A word has {MIN_BITS} to {MAX_BITS} bits, not {self.bits}.")
        if not 1 <= self.sites <= _largest(self.bits):
            raise RangeError(f"Words of {self.bits} bits cannot hold a sum over {self.sites} sites.")
        for segment in self.layout.segments:
            if not _MIN_BOUND <= segment.bound <= _MAX_BOUND:
                raise RangeError(f"Segment {segment.name}: its bound is not a positive number of usable size.")

    def scale(self, segment: Segment) -> float:
        """Largest power of two with sites * ceil(bound * scale) <= 2^(bits-1) - 1."""
        # ceil(y) <= room is y <= room for an integer room; mantissas are in [1/2, 1), so this is exact.
        room, room_exponent = frexp(_largest(self.bits) // self.sites)
        bound, bound_exponent = frexp(segment.bound)
        return ldexp(1.0, room_exponent - bound_exponent - (1 if bound > room else 0))

    def resolution(self) -> dict[str, float]:
        """Step of each segment, in its own unit: one rounding moves a value by less than this."""
        return {segment.name: 1.0 / self.scale(segment) for segment in self.layout.segments}

    def encode(self, vector: Vector, rng: np.random.Generator) -> NDArray[np.uint32]:
        """float64 (n,) -> words (n,). RangeError, with counts only, for NaN, infinity, or beyond a segment's bound."""
        self._require_vector(vector, np.dtype(np.float64))
        words = np.empty(vector.size, dtype=np.uint32)
        for segment, where in self._parts():
            _require_bound(segment, vector[where])
            _round(vector[where], self.scale(segment), rng, words[where])
        return words & np.uint32((1 << self.bits) - 1)

    def decode(self, words: NDArray[np.uint32]) -> Vector:
        """Words of a sum (n,) -> float64 (n,). RangeError for what no `sites` sites can add up to."""
        self._require_vector(words, np.dtype(np.uint32))
        vector = np.empty(words.size, dtype=np.float64)
        for segment, where in self._parts():
            scale = self.scale(segment)
            largest = self.sites * ceil(segment.bound * scale)
            if not _sums(words[where], self.bits, scale, largest, vector[where]):
                raise RangeError(f"Segment {segment.name}: not a sum of {self.sites} sites within its bound.")
        return vector

    def _parts(self) -> Iterator[tuple[Segment, slice]]:
        start = 0
        for segment in self.layout.segments:
            yield segment, slice(start, start + segment.length)
            start += segment.length

    def _require_vector(self, vector: NDArray[np.generic], kind: np.dtype[np.generic]) -> None:
        if vector.dtype != kind or vector.shape != (self.layout.length,):
            raise RangeError(f"A secure sum of {self.layout.length} values takes a vector of {kind}, of that length.")


def _largest(bits: int) -> int:
    return (1 << (bits - 1)) - 1


def _require_bound(segment: Segment, values: Vector) -> None:
    inside = np.count_nonzero(np.abs(values) <= segment.bound)  # a comparison with NaN is false
    if inside != values.size:
        raise RangeError(
            f"Segment {segment.name}: {values.size - inside} of {values.size} values are not numbers within the bound "
            "of the plan. Nothing was sent; clip before the secure sum."
        )


def _round(values: Vector, scale: float, rng: np.random.Generator, words: NDArray[np.uint32]) -> None:
    """Write values * scale, rounded, as 32-bit two's complement into `words`."""
    for start in range(0, values.size, _BLOCK):
        scaled = values[start : start + _BLOCK] * scale
        low = np.floor(scaled)
        low += rng.random(scaled.size) < scaled - low
        words[start : start + _BLOCK] = low.astype(np.int32).view(np.uint32)


def _sums(words: NDArray[np.uint32], bits: int, scale: float, largest: int, values: Vector) -> bool:
    """Write the signed words / scale into `values`; False if one is beyond `largest` in absolute value."""
    unused = 32 - bits
    for start in range(0, words.size, _BLOCK):
        signed = (words[start : start + _BLOCK] << np.uint32(unused)).view(np.int32) >> np.int32(unused)
        if int(signed.max()) > largest or int(signed.min()) < -largest:
            return False
        values[start : start + _BLOCK] = signed / scale
    return True
