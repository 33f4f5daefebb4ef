"""What hides a patient in a sum: the interface of noise that a site adds before a sum leaves it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Noise(Protocol):
    """A mechanism with its scale."""

    @property
    def sd(self) -> float:
        """The standard deviation of each entry."""

    @property
    def tail(self) -> float:
        """What no entry of the noise is beyond, but by a chance that never happens: room for it in the sum."""

    def added_to(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values with noise in every entry, each of its own draw."""
