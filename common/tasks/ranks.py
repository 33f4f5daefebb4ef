"""The AUC from the scores of the cases themselves, and how far it may be chance: where one process has them all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def interval(scores: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[float, float] | None:
    """95 % of the AUC over 500 resamples of the cases (percentile bootstrap); None without both classes."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x424F4F54]))
    draws = [rng.integers(0, len(target), len(target)) for _ in range(500)]
    found = [area(scores[draw], target[draw]) for draw in draws if 0 < target[draw].sum() < len(draw)]
    return (float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))) if found else None


def area(scores: NDArray[Any], target: NDArray[Any]) -> float:
    """AUC by ranks, ties as half (Mann and Whitney 1947)."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    positive = target == 1
    n = int(positive.sum())
    m = len(target) - n
    return float((ranks[place][positive].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")
