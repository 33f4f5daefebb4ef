"""Measures: what a task's models are judged by, and how a person reads it. Without numpy, for whoever draws pages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

NORMAL_95 = 1.96  # of a normal distribution, 95 % lies within so many standard deviations


@dataclass(frozen=True)
class Measure:
    """One figure of a score.

    key: in the metrics of a report
    short: its name in a narrow column
    chance: what a model that knows nothing reaches, where that is always the same
    leads: whether a verdict may rest on it
    most: the largest value that it can have
    noise, times: key of the half width of the 95 % interval that the known noise of privacy alone makes, in the same
        metrics, and how many of it are this measure's
    unit: in which the width of that interval is judged
    """

    key: str
    name: str
    short: str = ""
    more_is_better: bool = True
    chance: float | None = None
    leads: bool = False
    most: float = math.inf
    noise: str = "share_noise"
    times: float = 1.0
    unit: float = 1.0

    @property
    def column(self) -> str:
        return self.short or self.name

    def rank(self, scores: Mapping[str, float]) -> float:
        """Return the value, turned round where less is better, to compare models by; -inf where it is not defined."""
        value = scores.get(self.key, math.nan)
        return -math.inf if math.isnan(value) else value if self.more_is_better else -value
