"""Deterministic splits: scikit-learn's train_test_split on numpy alone, and folds by patient."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def train_test(
    labels: Sequence[int], *, train: float, test: float, state: int, stratify: bool
) -> tuple[list[int], list[int]]:
    """The rows that scikit-learn 1.x's `train_test_split(range(n), ..., shuffle=True)` gives, in its order.

    Its published splits rest on numpy's legacy generator, whose stream numpy keeps unchanged (NEP 19); a test holds
    this function against scikit-learn, so that the product need not install it.
    """
    n = len(labels)
    n_train, n_test = math.floor(train * n), math.ceil(test * n)
    rng = np.random.RandomState(state)
    if not stratify:
        order = rng.permutation(n)
        return order[n_test : n_test + n_train].tolist(), order[:n_test].tolist()
    return _stratified(rng, np.asarray(labels), n_train, n_test)


def _stratified(
    rng: np.random.RandomState, labels: NDArray[np.int64], n_train: int, n_test: int
) -> tuple[list[int], list[int]]:
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    train_counts = _proportional(rng, counts, n_train)
    test_counts = _proportional(rng, counts - train_counts, n_test)
    train: list[int] = []
    test: list[int] = []
    for kind, (first, second) in enumerate(zip(train_counts, test_counts, strict=True)):
        rows = np.flatnonzero(which == kind)[rng.permutation(counts[kind])]
        train.extend(rows[:first].tolist())
        test.extend(rows[first : first + second].tolist())
    return rng.permutation(train).tolist(), rng.permutation(test).tolist()


def _proportional(rng: np.random.RandomState, counts: NDArray[np.int64], draws: int) -> NDArray[np.int64]:
    """The most likely numbers of each class among `draws` rows: largest remainders, ties by the generator."""
    exact = counts / counts.sum() * draws
    chosen: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    left = int(draws - chosen.sum())
    remainder = exact - chosen
    for value in np.sort(np.unique(remainder))[::-1]:
        if left <= 0:
            break
        (tied,) = np.where(remainder == value)
        add = min(len(tied), left)
        chosen[rng.choice(tied, size=add, replace=False)] += 1
        left -= add
    return chosen


def folds(strata: Sequence[Hashable], count: int, seed: int) -> list[int]:
    """A fold from 0 to count - 1 for each patient; every stratum is spread over the folds as evenly as can be.

    Strata are dealt one after the other, each shuffled, so that the folds' sizes differ by one at most.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, count]))
    members: dict[Hashable, list[int]] = {}
    for row, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(row)
    dealt = [row for rows in members.values() for row in rng.permutation(rows).tolist()]
    found = [0] * len(strata)
    for place, row in enumerate(dealt):
        found[row] = place % count
    return found
