"""Pauses between tries that grow while nothing comes of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Pause:
    """`seconds` to wait now: the first, then `factor` times as many after each try, and never more than the longest."""

    first: float
    longest: float
    factor: float = 2.0
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = self.first

    def longer(self) -> float:
        """Return how long to wait after one more try in vain."""
        self.seconds = min(self.factor * self.seconds, self.longest)
        return self.seconds

    def anew(self) -> float:
        """Return the first pause again: something came of the last try."""
        self.seconds = self.first
        return self.seconds
