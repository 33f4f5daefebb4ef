"""Noise that is added to a sum before it leaves a site: how far it goes at the most, and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.privacy.mechanism import noisy

# In standard deviations: passed by chance in one of 10^23 draws, and then the site sends nothing at all.
TAIL = 10.0


class Noise(Protocol):
    """A mechanism with its scale."""

    @property
    def tail(self) -> float:
        """What no entry of the noise is beyond, but by a chance that never happens: room for it in the sum."""

    def added_to(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values with noise in every entry, each of its own draw."""


@dataclass(frozen=True)
class GaussianNoise:
    """Of mean 0 and standard deviation `sd`, for a sum whose sensitivity is in L2. See `mechanism.noisy`."""

    sd: float

    @property
    def tail(self) -> float:
        return self.sd * TAIL

    def added_to(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return noisy(values, self.sd)
