"""Gaussian noise for a sum: how far it goes at the most, and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.privacy.mechanism import noisy

# In standard deviations: passed by chance in one of 10^23 draws, and then the site sends nothing at all.
TAIL = 10.0


@dataclass(frozen=True)
class GaussianNoise:
    """Of mean 0 and standard deviation `sd`, for a sum whose sensitivity is in L2. See `mechanism.noisy`."""

    sd: float

    @property
    def tail(self) -> float:
        return self.sd * TAIL

    def added_to(self, values: NDArray[Any]) -> NDArray[np.float64]:
        return noisy(values, self.sd)
