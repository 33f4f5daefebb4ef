"""Shamir: published vectors, any t shares give the secret, t - 1 leave every secret possible."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import SecureSumError
from common.identity.secret import Secret
from common.secure_sum.secret_sharing import PRIME, combine, deal_shares, value_at, value_at_zero


def exposed(secret: Secret) -> bytes:
    return bytes(secret.expose())


def test_the_prime_is_prime_and_holds_any_secret() -> None:
    """Lucas-Lehmer for the Mersenne number 2^521 - 1."""
    residue = 4
    for _ in range(521 - 2):
        residue = (residue * residue - 2) % PRIME
    assert residue == 0
    assert PRIME > 2**256


def test_vector_of_the_wikipedia_article() -> None:
    """Secret 1234, coefficients 166 and 94, modulo 1613."""
    shares = {x: value_at(x, [1234, 166, 94], 1613) for x in range(1, 7)}
    assert shares == {1: 1494, 2: 329, 3: 965, 4: 176, 5: 1188, 6: 775}
    for places in itertools.combinations(shares, 3):
        assert value_at_zero(places, [shares[x] for x in places], 1613) == 1234


@pytest.mark.parametrize(
    ("points", "secret"),
    [
        ({1: 564797566, 2: 804114535, 4: 1354242660, 6: 1818201132, 7: 503769263}, 1234),
        (
            {
                1: 819016192,
                2: 1888749673,
                3: 1737609270,
                4: 365594983,
                5: 1628804870,
                6: 1671140873,
                7: 492602992,
            },
            456457856,
        ),
    ],
)
def test_vectors_of_a_public_challenge(points: dict[int, int], secret: int) -> None:
    """Modulo 1928049029, as posed on Stack Exchange's Code Golf."""
    assert value_at_zero(list(points), list(points.values()), 1928049029) == secret


def test_own_vector_over_the_large_prime() -> None:
    """2 + 3x + (p - 1)x^2: small enough to check by hand."""
    values = [value_at(x, [2, 3, PRIME - 1]) for x in (1, 2, 3, 4)]
    assert values == [4, 4, 2, PRIME - 2]
    shares = {x: value.to_bytes(66, "big") for x, value in zip((1, 2, 4), (4, 4, PRIME - 2), strict=True)}
    assert exposed(combine(shares)) == (2).to_bytes(32, "big")


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=32, max_size=32), st.integers(1, 12), st.integers(0, 8), st.randoms(use_true_random=False))
def test_any_t_shares_give_the_secret(secret: bytes, threshold: int, more: int, random) -> None:  # type: ignore[no-untyped-def]
    shares = deal_shares(Secret(secret), threshold, threshold + more)
    chosen = random.sample(range(1, threshold + more + 1), threshold)
    assert exposed(combine({place: exposed(shares[place - 1]) for place in chosen})) == secret


@settings(deadline=None, max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(2, 8))
def test_one_share_too_few_fits_every_secret(secret: bytes, other: bytes, threshold: int) -> None:
    """t - 1 shares and any secret at all lie on one polynomial, whose last share is as good as the real one."""
    shares = deal_shares(Secret(secret), threshold, threshold)
    known = {place: exposed(shares[place - 1]) for place in range(1, threshold)}
    points = {0: int.from_bytes(other, "big")} | {x: int.from_bytes(share, "big") for x, share in known.items()}
    invented = _interpolate(points, threshold)
    assert 0 <= invented < PRIME
    assert exposed(combine(known | {threshold: invented.to_bytes(66, "big")})) == other


def _interpolate(points: dict[int, int], x: int) -> int:
    """The value at x, by moving x to zero."""
    return value_at_zero([place - x for place in points], list(points.values()))


def test_fewer_than_t_shares_do_not_give_the_secret() -> None:
    for _ in range(20):
        secret = Secret.random(32)
        shares = deal_shares(secret, 4, 6)
        with pytest.raises(SecureSumError):  # a uniform element is below 2^256 once in 2^265 times
            combine({place: exposed(shares[place - 1]) for place in (1, 3, 6)})


def test_shares_are_fresh_and_look_uniform() -> None:
    """The same secret twice has no share in common, and a share's bits are balanced whatever the secret is."""
    zero = Secret(bytes(32))
    first, second = deal_shares(zero, 3, 5), deal_shares(zero, 3, 5)
    assert len({exposed(share) for share in (*first, *second)}) == 10
    drawn = [int.from_bytes(exposed(deal_shares(zero, 2, 2)[0]), "big") for _ in range(400)]
    ones = sum(value.bit_count() for value in drawn)
    assert abs(ones - 400 * 521 / 2) < 5 * (400 * 521 / 4) ** 0.5
    assert len(exposed(first[0])) == 66


def test_a_share_outside_the_field_is_refused() -> None:
    shares = deal_shares(Secret.random(32), 2, 2)
    for wrong in (PRIME, PRIME + 5, 2**528 - 1):
        with pytest.raises(SecureSumError):
            combine({1: exposed(shares[0]), 2: wrong.to_bytes(66, "big")})


@pytest.mark.parametrize(("threshold", "holders"), [(0, 3), (4, 3), (-1, 3)])
def test_impossible_splits_are_refused(threshold: int, holders: int) -> None:
    with pytest.raises(SecureSumError):
        deal_shares(Secret.random(32), threshold, holders)
