"""What patients have spent: releases by study, split and side, and the epsilon of whoever spent most.

A patient is on one side of a study: in training, in validation, or in test. Between studies, and between two splits of
one study, a patient may have changed sides, and which patient did is not known here. So everybody is counted as if they
had been, in each other study, where most was spent: for each order of the Rényi divergence the largest sum of the
sides. That is above the worst patient, never below; and it is one sum a study, however many studies there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from common.privacy.accounting import Accountant, Curve, Release, curve, curve_above, epsilon, epsilon_of_curve
from common.privacy.accounts import SIDES, Account, Side, sides_of

_FINE = 8  # mechanisms whose curve is computed at all orders; a site with more has the quick bound for other studies
_SEGMENTS = 4  # mechanisms on samples that the `prv` accountant composes; beyond, its time would grow with the studies

Mechanisms = Counter[tuple[float, float]]  # (noise multiplier, sample rate) -> steps
Sides = dict[Side, Mechanisms]


@dataclass
class Spending:
    """All releases of a ledger. `exact`: the studies without privacy whose exact sums were released."""

    _spent: dict[tuple[str, str], Sides] = field(default_factory=dict)  # (study, split) -> what each side spent
    exact: set[str] = field(default_factory=set)

    def add(self, study: str, split: str, account: Account, releases: Iterable[Release]) -> None:
        """Charge every patient of the account."""
        sides = self._spent.setdefault((study, split), {side: Counter() for side in SIDES})
        for release in releases:
            for side in sides_of(account):
                sides[side][release.noise_multiplier, release.sample_rate] += release.steps

    def copy(self) -> Spending:
        """Return one that can be added to without changing this."""
        spent = {place: {side: Counter(sides[side]) for side in SIDES} for place, sides in self._spent.items()}
        return Spending(spent, set(self.exact))

    def worst(self, study: str, split: str, sides: Iterable[Side], delta: float, accountant: Accountant) -> float:
        """Return the epsilon of a patient on one of these sides of a study, wherever in the others most was spent."""
        return max(self._worst((study, split), side, delta, accountant) for side in sides)

    def _worst(self, place: tuple[str, str], side: Side, delta: float, accountant: Accountant) -> float:
        own = self._spent[place][side] if place in self._spent else Mechanisms()
        others = [sides for other, sides in self._spent.items() if other != place]
        if not others:
            return epsilon(_releases(own), delta, accountant)
        total = _curve(own, fine=True)
        fine = len(_sampled(chain_of(sides.values() for sides in others))) <= _FINE
        for sides in others:
            total = total + np.max([_curve(mechanisms, fine) for mechanisms in sides.values()], axis=0)
        bound = epsilon_of_curve(total, delta)
        return min(bound, _numerical([own, *map(_most, others)], delta)) if accountant == "prv" else bound


def chain_of(several: Iterable[Iterable[Mechanisms]]) -> Iterator[Mechanisms]:
    """Return the mechanisms of all sides of all studies."""
    return (mechanisms for sides in several for mechanisms in sides)


def _curve(mechanisms: Mechanisms, fine: bool) -> Curve:
    total: Curve = np.zeros_like(curve(1.0, 1.0))
    for (noise, rate), steps in sorted(mechanisms.items()):
        total = total + steps * (curve if fine else curve_above)(noise, rate)
    return total


def _sampled(several: Iterable[Mechanisms]) -> set[tuple[float, float]]:
    return {mechanism for mechanisms in several for mechanism in mechanisms if mechanism[1] < 1}


def _most(sides: Sides) -> Mechanisms:
    """The side that had every release of the others, if there is one; else one that had those of all."""
    together = Mechanisms()
    for mechanisms in sides.values():
        together |= mechanisms  # of each mechanism the most steps of a side
    return together


def _numerical(several: Iterable[Mechanisms], delta: float) -> float:
    """`prv` over all of these; infinite where they are too many for it. Unsampled Gaussians are one of their own:
    their precisions add up.
    """
    all_steps = Mechanisms()
    for mechanisms in several:
        all_steps.update(mechanisms)
    if len(_sampled([all_steps])) > _SEGMENTS:
        return float("inf")
    precision = sum(steps / noise**2 for (noise, rate), steps in all_steps.items() if rate == 1)
    sampled = Mechanisms({key: steps for key, steps in all_steps.items() if key[1] < 1})
    if precision > 0:
        sampled[precision**-0.5, 1.0] += 1
    return epsilon(_releases(sampled), delta, "prv")


def _releases(mechanisms: Mapping[tuple[float, float], int]) -> list[Release]:
    return [Release("training", noise, rate, steps) for (noise, rate), steps in mechanisms.items()]
