"""The randomness that protects: Gaussian noise and Poisson samples from the operating system's generator.

No function here takes a seed, and none looks at torch's or numpy's global generators: whoever knows a training seed
knows nothing of the noise. Each call draws a fresh 256-bit key from the operating system for ChaCha20, and the key is
forgotten with the call.

What is not claimed. The theory is about real numbers. A Gaussian sampler in floating point cannot reach every number,
and which ones it can reach depends on the value below the noise (Mironov 2012, shown there for Laplace noise; the
same holds for Gaussian samplers). `noisy` adds in float64 and then rounds to a fixed grid about a millionth of the
noise, so that the low bits, where such traces sit, do not leave. That is a remedy in practice and no proof; a proof
needs a discrete Gaussian. Time taken and memory touched are not hidden from someone on the same machine.
"""

from __future__ import annotations

import math
import os
import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import PrivacyError

_GRID_BITS = 20


def gaussian(size: int, sd: float) -> NDArray[np.float64]:
    """`size` independent draws of a Gaussian with mean 0 and standard deviation `sd`, from a fresh key."""
    if not (math.isfinite(sd) and sd > 0):
        raise PrivacyError("Noise needs a finite standard deviation above 0.")
    return _generator().normal(0.0, sd, size)


def noisy(values: NDArray[Any], sd: float) -> NDArray[np.float64]:
    """`values` plus Gaussian noise, rounded to the grid of 2^-20 times the largest power of two up to `sd`."""
    noise = gaussian(values.size, sd).reshape(values.shape)
    grid = 2.0 ** (math.floor(math.log2(sd)) - _GRID_BITS)
    noise += values
    noise /= grid
    np.rint(noise, out=noise)
    noise *= grid
    return noise


def poisson_sample(n: int, rate: float) -> NDArray[np.int64]:
    """Indices, ascending, of a sample that holds each of `n` patients with chance `rate`, independently.

    Each patient gets 53 bits from the operating system; the chance is `rate` rounded down to a multiple of 2^-53.
    """
    if not 0 < rate <= 1:
        raise PrivacyError("A sample rate lies in (0, 1].")
    draws = np.frombuffer(os.urandom(8 * n), dtype=np.uint64) >> np.uint64(11)
    return np.flatnonzero(draws < np.uint64(math.floor(rate * 2**53))).astype(np.int64)


def uniform(*shape: int) -> NDArray[np.float64]:
    """Numbers in [0, 1) from a fresh key, for choices at random that must stay secret with the sample."""
    return _generator().random(shape)


def places(n: int, among: int) -> NDArray[np.int64]:
    """A place in [0, among) for each of `n` patients, each drawn by itself: a byte from the operating system.

    `among`: a power of two, at most 256, so that all places are equally likely.
    """
    if among not in (1 << bits for bits in range(9)):
        raise PrivacyError("The number of places is a power of two, at most 256.")
    return (np.frombuffer(os.urandom(n), dtype=np.uint8) & np.uint8(among - 1)).astype(np.int64)


def _generator() -> np.random.Generator:
    from randomgen import ChaCha

    return np.random.Generator(ChaCha(key=secrets.randbits(256), rounds=20))
