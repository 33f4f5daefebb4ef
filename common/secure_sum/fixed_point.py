"""Real numbers <-> words of the ring 2^k, with room for every site, so that a sum never wraps.

A segment whose entries are at most `bound` at a site is multiplied by its scale and rounded to an integer; the scale is
the largest power of two for which |R| such integers, rounded up, add up to at most 2^(k-1) - 1. Negative integers are
residues modulo 2^k. With a scale of at least 1 integers are exact.

Rounding is stochastic: y becomes floor(y + u), where u in [0, 1) is a random multiple of 2^-b, so that the expected
value is y to within 2^-b of a step; y is a product in float64. b is 31, or as many bits as float64 has left beside the
largest integer of a site: 25 for words of 32 bits and 8 sites, 22 at the least. An integer plus u is exact then, so
that integers stay what they are, and nothing is rounded beyond the next integer. Random bits are an AES-256-CTR stream
under a digest of a seed that is no secret: apart from masks and noise, the same for every number of threads, and to be
reproduced by anyone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, frexp, ldexp
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import CipherContext
from numpy.typing import NDArray

from common.errors import RangeError
from common.identity.encoding import digest
from common.identity.secret import Secret
from common.secure_sum.masking import BLOCK_WORDS, SPAN_WORDS, WordSource, aligned, cut, next_words, stream_from
from common.secure_sum.messages import MAX_BITS, MIN_BITS
from common.summand import Layout, Part, Segment, Summand, Vector

_MIN_BOUND, _MAX_BOUND = 2.0**-500, 2.0**500  # so that a scale and its reciprocal are normal numbers

_DITHER, _FLOAT64 = 31, 53  # bits: random ones of a word, and what the mantissa of a float64 holds


def word_bits(bits: int, sites: int) -> int:
    """k of the ring 2^k for a study's `bits` a value and |R| sites: with room for their sum where 32 bits allow it."""
    return min(MAX_BITS, bits + (sites - 1).bit_length())


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

    def words(self, summand: Summand, seed: Sequence[int]) -> WordSource:
        """A site's values as words, made block by block. Making them raises RangeError, which names the segment only,
        for NaN, infinity, or a value beyond its segment's bound.
        """
        if tuple(part.segment for part in summand.parts) != self.layout.segments:
            raise RangeError("The summand's segments are not those of the plan.")
        return _Rounded(self, summand, seed)

    def encode(self, vector: Vector, seed: Sequence[int]) -> NDArray[np.uint32]:
        """float64 (n,) -> words (n,), the same as from `words`."""
        self.require_vector(vector, np.dtype(np.float64))
        source = self.words(self.layout.summand(self.layout.part(vector)), seed)
        words = np.empty(vector.size, dtype=np.uint32)
        for start in range(0, vector.size, BLOCK_WORDS):
            source.write(start, min(start + BLOCK_WORDS, vector.size), words[start : start + BLOCK_WORDS])
        return words

    def values(self, room: Vector | None = None) -> Decoded:
        """Takes the words of a sum and holds its values, in `room` if it is given: float64 (n,). Taking them raises
        RangeError, which names the segment only, for words that no `sites` sites can add up to.
        """
        return Decoded(self, np.empty(self.layout.length) if room is None else room)

    def decode(self, words: NDArray[np.uint32]) -> Vector:
        """Words of a sum (n,) -> float64 (n,), the same as from `values`."""
        self.require_vector(words, np.dtype(np.uint32))
        sink = self.values()
        for start in range(0, words.size, BLOCK_WORDS):
            stop = min(start + BLOCK_WORDS, words.size)
            sink.read(start, stop, words[start:stop].copy())
        return sink.vector

    def inside(self, start: int, stop: int) -> Iterator[tuple[int, slice, slice]]:
        """The segments that words [start, stop) touch: which, where in the segment, and where in [start, stop)."""
        begin = 0
        for place, segment in enumerate(self.layout.segments):
            low, high = max(start, begin), min(stop, begin + segment.length)
            if low < high:
                yield place, slice(low - begin, high - begin), slice(low - start, high - start)
            begin += segment.length

    def require_vector(self, vector: NDArray[np.generic], kind: np.dtype[np.generic]) -> None:
        """RangeError unless the vector is (n,) of this kind."""
        if vector.dtype != kind or vector.shape != (self.layout.length,):
            raise RangeError(f"A secure sum of {self.layout.length} values takes a vector of {kind}, of that length.")


class _Scratch(threading.local):
    """Room for one block, for each thread its own: fresh memory for every block would cost more than the rounding."""

    def __init__(self) -> None:
        self.scaled, self.dither = (aligned(8 * BLOCK_WORDS).view(np.float64) for _ in range(2))
        self.random = aligned(4 * BLOCK_WORDS).view(np.uint32)
        self.stream: CipherContext | None = None
        self.next = 0  # the word from which the stream goes on


class _Rounded:
    """A summand's words: which depend on the seed, and not on how they are asked for."""

    def __init__(self, point: FixedPoint, summand: Summand, seed: Sequence[int]) -> None:
        self._point, self._summand = point, summand
        self._scales = [point.scale(part.segment) for part in summand.parts]
        integer_bits = (_largest(point.bits) // point.sites).bit_length()
        dither_bits = min(_DITHER, _FLOAT64 - integer_bits)
        self._kept = np.uint32((1 << _DITHER) - (1 << (_DITHER - dither_bits)))
        self._key = Secret(digest("rounding", *(str(number).encode() for number in seed)))
        self._scratch = _Scratch()

    @property
    def length(self) -> int:
        return self._summand.length

    def write(self, start: int, stop: int, out: NDArray[np.uint32]) -> None:
        dither = self._dither(start, stop)
        for place, inside, outside in self._point.inside(start, stop):
            self._round(self._summand.parts[place], self._scales[place], inside, dither[outside], out[outside])
        cut(out, self._point.bits)

    def _dither(self, start: int, stop: int) -> Vector:
        """u of each word, times 2^31; `start` is a multiple of 4."""
        scratch = self._scratch
        if scratch.stream is None or scratch.next != start or start % SPAN_WORDS == 0:
            scratch.stream = stream_from(self._key, start)
        random = next_words(scratch.stream, scratch.random[: stop - start])
        scratch.next = stop
        np.bitwise_and(random, self._kept, out=random)
        dither = scratch.dither[: stop - start]
        np.copyto(dither, random.view("<i4"))  # below 2^31, and signed integers are converted faster
        return dither

    def _round(self, part: Part, scale: float, inside: slice, dither: Vector, words: NDArray[np.uint32]) -> None:
        """Write the values of a part, scaled and rounded, as 32-bit two's complement into `words`."""
        values, fine = part.values[inside], scale * 2.0**_DITHER
        _require_bound(part.segment, values, part.factor * fine, part.segment.bound * fine)
        scaled = self._scratch.scaled[: words.size]
        np.copyto(scaled, values)
        np.multiply(scaled, part.factor * fine, out=scaled)
        np.add(scaled, dither, out=scaled)
        np.multiply(scaled, 2.0**-_DITHER, out=scaled)
        np.floor(scaled, out=scaled)
        np.copyto(words.view(np.int32), scaled, casting="unsafe")


class Decoded:
    """The values of a sum: `vector`, float64 (n,), whole once all words were read."""

    def __init__(self, point: FixedPoint, room: Vector) -> None:
        point.require_vector(room, np.dtype(np.float64))
        self._point = point
        self._scales = [point.scale(segment) for segment in point.layout.segments]
        self.vector = room

    @property
    def length(self) -> int:
        return int(self.vector.size)

    def read(self, start: int, stop: int, words: NDArray[np.uint32]) -> None:
        signed, unused = words.view(np.int32), 32 - self._point.bits
        if unused:  # two's complement of `bits` bits
            np.left_shift(signed, unused, out=signed)
            np.right_shift(signed, unused, out=signed)
        for place, _, outside in self._point.inside(start, stop):
            self._take(place, signed[outside], self.vector[start:stop][outside])

    def _take(self, place: int, signed: NDArray[np.int32], values: Vector) -> None:
        segment, scale, sites = self._point.layout.segments[place], self._scales[place], self._point.sites
        largest = sites * ceil(segment.bound * scale)
        if int(signed.max()) > largest or int(signed.min()) < -largest:
            raise RangeError(f"Segment {segment.name}: not a sum of {sites} sites within its bound.")
        np.copyto(values, signed)
        np.multiply(values, 1.0 / scale, out=values)


def _largest(bits: int) -> int:
    return (1 << (bits - 1)) - 1


def _require_bound(segment: Segment, values: NDArray[np.floating[Any]], factor: float, limit: float) -> None:
    """That all products are within the limit: the largest and the smallest are, for rounding keeps their order."""
    one, other = float(values.max()) * factor, float(values.min()) * factor
    if not (-limit <= one <= limit and -limit <= other <= limit):  # a comparison with NaN is false
        raise RangeError(
            f"Segment {segment.name}: a value is not a number within the bound of the plan. Nothing was sent; clip "
            "before the secure sum."
        )
