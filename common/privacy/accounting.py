"""Epsilon of everything that was released from one patient: Opacus's accountants over a list of releases.

Neighbouring data sets differ by one patient, added or removed. A `Release` is a Gaussian mechanism of L2 sensitivity 1
(in units of its clip bound), run `steps` times on Poisson samples of rate `sample_rate`.

- `rdp` (Mironov, Talwar and Zhang 2019; conversion of Balle et al. 2020) is a bound: the true epsilon is never larger.
- `prv` (Gopi, Lee and Wutschitz 2021) is a numerical composition, accurate to about 0.01 and reported from above, but
  resting on floating-point convolutions. Where it is looser than the bound, or cannot be computed, the bound stands.
- Opacus's third accountant, the central-limit one, is not offered: it is an approximation that falls below the truth.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import PrivacyError

Kind = Literal["training", "statistics", "evaluation"]
Accountant = Literal["rdp", "prv"]
Curve = NDArray[np.float64]  # Rényi divergences at the orders

# Opacus's own orders end at 63, which floors epsilon near 0.1; below 1.5 its series converges slowly and only
# epsilons above 40 gain. Any set of orders gives a bound.
_ORDERS = [
    *(1 + x / 10 for x in range(5, 50)),
    *(6 + x / 4 for x in range(16)),
    *range(10, 64),
    *(64, 72, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1024),
]

_ALPHAS = np.array(_ORDERS, dtype=np.float64)
_WHOLE = [int(order) for order in _ORDERS if float(order).is_integer()]

_PRV_ERROR = 0.01  # what it may be above the truth
_PRV_CELLS = 4_000_000


@dataclass(frozen=True)
class Release:
    """`steps` runs of a Gaussian mechanism.

    noise_multiplier: standard deviation of the noise over the L2 sensitivity to one patient
    sample_rate: chance of each patient to be in a step, drawn independently; 1.0 outside training
    """

    kind: Kind
    noise_multiplier: float
    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise PrivacyError("A release needs a finite noise multiplier above 0; without noise nothing is private.")
        if not 0 < self.sample_rate <= 1 or self.steps < 1:
            raise PrivacyError("A release needs a sample rate in (0, 1] and at least one step.")
        if self.kind != "training" and self.sample_rate != 1:
            raise PrivacyError("Statistics and evaluation look at every patient: their sample rate is 1.")


def epsilon(releases: Iterable[Release], delta: float, accountant: Accountant = "rdp") -> float:
    """The epsilon, at this delta, of a patient from whom all of `releases` were made; 0.0 for none."""
    if not 0 < delta < 1:
        raise PrivacyError("delta must lie between 0 and 1, and well below one over the number of patients.")
    # Equal mechanisms are merged: a segment each is what costs time, not a step. Sorted, so that the order in which
    # releases were written down cannot move the last bit.
    steps: dict[tuple[float, float], int] = defaultdict(int)
    for release in releases:
        steps[release.noise_multiplier, release.sample_rate] += release.steps
    history = tuple((*mechanism, count) for mechanism, count in sorted(steps.items()))
    return _compose(history, delta, accountant) if history else 0.0


@lru_cache(maxsize=1024)
def _compose(history: tuple[tuple[float, float, int], ...], delta: float, accountant: Accountant) -> float:
    with np.errstate(all="ignore"):
        value = _rdp(history, delta) if accountant == "rdp" else _prv(history, delta)
    return max(0.0, value) if not math.isnan(value) else math.inf


@lru_cache(maxsize=1024)
def curve(noise_multiplier: float, sample_rate: float) -> Curve:
    """Return the Rényi divergence of one step of this mechanism at each of the orders; infinite where it overflows.

    Curves of mechanisms that were all applied to one patient add up; `epsilon_of_curve` reads the sum. The array is
    shared between callers, and read-only. At orders that are no whole numbers it takes a seventh of a second.
    """
    from opacus.accountants.analysis.rdp import compute_rdp

    with np.errstate(all="ignore"):
        found = compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=_ORDERS)
    return _shared(np.asarray(found, dtype=np.float64))


@lru_cache(maxsize=4096)
def curve_above(noise_multiplier: float, sample_rate: float) -> Curve:
    """Return a bound on `curve` in a hundredth of the time: the same at whole orders, above it in between.

    (order - 1) times the divergence is convex in the order (van Erven and Harremoës 2014, corollary 2), and 0 at 1, so
    that the straight line between two whole orders lies above it.
    """
    if sample_rate == 1:
        return curve(noise_multiplier, sample_rate)
    small, large = [order for order in _WHOLE if order <= 64], [order for order in _WHOLE if order > 64]
    moments = [*_moments(noise_multiplier, sample_rate, small), *_moments(noise_multiplier, sample_rate, large)]
    with np.errstate(all="ignore"):
        found = np.interp(_ALPHAS, np.array([1.0, *_WHOLE]), np.array([0.0, *moments])) / (_ALPHAS - 1)
    return _shared(found * (1 + 1e-9) + 1e-11)  # the logarithms of factorials are rounded


def _moments(noise_multiplier: float, sample_rate: float, orders: list[int]) -> NDArray[np.float64]:
    """The logarithms of A of Mironov, Talwar and Zhang 2019, section 3.3, at these whole orders."""
    from scipy.special import gammaln, logsumexp

    order, k = np.array(orders)[:, None], np.arange(max(orders) + 1)[None, :]
    rest = np.maximum(order - k, 0)
    terms = gammaln(order + 1) - gammaln(k + 1) - gammaln(rest + 1) + k * math.log(sample_rate)
    terms = terms + rest * math.log1p(-sample_rate) + (k * k - k) / (2 * noise_multiplier**2)
    return np.asarray(logsumexp(np.where(k <= order, terms, -np.inf), axis=1))


def _shared(found: Curve) -> Curve:
    found = np.where(np.isnan(found), np.inf, np.maximum(found, 0.0))
    found.setflags(write=False)
    return found


def epsilon_of_curve(total: Curve, delta: float) -> float:
    """Return the epsilon, at this delta, of a patient whose mechanisms' curves add up to `total`; 0.0 for none."""
    if not 0 < delta < 1:
        raise PrivacyError("delta must lie between 0 and 1, and well below one over the number of patients.")
    return max(0.0, _convert(total, delta)) if total.any() else 0.0


def _convert(total: Curve, delta: float) -> float:
    """Theorem 21 of Balle et al. 2020 at each order; the least."""
    with np.errstate(all="ignore"):
        least = total - (math.log(delta) + np.log(_ALPHAS)) / (_ALPHAS - 1) + np.log((_ALPHAS - 1) / _ALPHAS)
    return float(np.min(np.where(np.isnan(least), np.inf, least)))


def _rdp(history: tuple[tuple[float, float, int], ...], delta: float) -> float:
    return _convert(sum((curve(noise, rate) * steps for noise, rate, steps in history), np.zeros(len(_ORDERS))), delta)


def _prv(history: tuple[tuple[float, float, int], ...], delta: float) -> float:
    from opacus.accountants import PRVAccountant

    bound = _rdp(history, delta)
    # The mesh, before it is made: an epsilon in the thousands, or millions of steps, would take all memory there is.
    steps = sum(count for _, _, count in history)
    if 2 * (bound + 3) * math.sqrt(steps * math.log(12_000 / delta) / 2) / _PRV_ERROR > _PRV_CELLS:
        return bound
    accountant = PRVAccountant()
    accountant.history = list(history)
    try:
        found = float(accountant.get_epsilon(delta, eps_error=_PRV_ERROR))
    except (RuntimeError, ValueError):
        return bound
    return min(found, bound) if math.isfinite(found) else bound
