"""Shamir's secret sharing (1979) modulo the Mersenne prime 2^521 - 1: t shares give the secret, t - 1 nothing.

The secret is the value at 0 of a random polynomial of degree t - 1; the share at place x (from 1) is its value there.
The prime is far above 2^256, so that every 32-byte secret is an element. Python's integers take time that depends on
their values; a site's secrets are fresh for every sum and split once, which leaves little to measure.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from common.errors import SecureSumError
from common.identity.secret import Secret
from common.secure_sum.messages import SHARE_BYTES

PRIME = 2**521 - 1
SECRET_BYTES = 32


def deal_shares(secret: Secret, threshold: int, holders: int) -> list[Secret]:
    """Shares for the places 1 to `holders`, of which `threshold` give the secret back."""
    if not 1 <= threshold <= holders < PRIME:
        raise SecureSumError(f"{threshold} of {holders} shares is not a way to share a secret.")
    coefficients = [int.from_bytes(secret.expose(), "big")]
    coefficients += [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    return [Secret(value_at(place, coefficients).to_bytes(SHARE_BYTES, "big")) for place in range(1, holders + 1)]


def combine(shares: Mapping[int, bytes]) -> Secret:
    """The secret, from exactly t shares by their places. SecureSumError when they fit no secret of 32 bytes.

    Shares that are wrong in another way give another secret: the caller compares with what the dealer published.
    """
    values = [int.from_bytes(share, "big") for share in shares.values()]
    secret = value_at_zero(list(shares), values)
    if any(value >= PRIME for value in values) or secret >= 1 << (8 * SECRET_BYTES):
        raise SecureSumError("Shares do not fit together.")
    return Secret(secret.to_bytes(SECRET_BYTES, "big"))


def value_at(x: int, coefficients: Sequence[int], prime: int = PRIME) -> int:
    """A polynomial's value at x modulo the prime, lowest coefficient first (Horner)."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * x + coefficient) % prime
    return value


def value_at_zero(places: Sequence[int], values: Sequence[int], prime: int = PRIME) -> int:
    """The value at 0 of the polynomial of lowest degree through these points (Lagrange)."""
    total = 0
    for i, (x, value) in enumerate(zip(places, values, strict=True)):
        above = below = 1
        for other in (*places[:i], *places[i + 1 :]):
            above = above * other % prime
            below = below * (other - x) % prime
        total += value * above * pow(below, -1, prime)
    return total % prime
