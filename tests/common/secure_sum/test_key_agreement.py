"""X25519 and HKDF: the RFCs' vectors, and peers' keys that would make the result known to all."""

from __future__ import annotations

import pytest

from common.errors import SecureSumError
from common.identity.secret import Secret
from common.secure_sum.key_agreement import AgreementKey, MaskKey, ShareKey, derive, hkdf
from tests.support.secure_sum import consent

# RFC 7748, section 6.1
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")

PRIME = 2**255 - 19
# u-coordinates of all points of small order, on the curve and on its twist.
LOW_ORDER = [
    (0).to_bytes(32, "little"),
    (1).to_bytes(32, "little"),
    (PRIME - 1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


def test_rfc_7748_keys() -> None:
    assert AgreementKey(Secret(ALICE)).public == ALICE_PUBLIC
    assert AgreementKey(Secret(BOB)).public == BOB_PUBLIC
    one = AgreementKey(Secret(ALICE)).agree("bob", BOB_PUBLIC, "test", b"x")
    other = AgreementKey(Secret(BOB)).agree("alice", ALICE_PUBLIC, "test", b"x")
    assert bytes(one.expose()) == bytes(other.expose()) == bytes(derive(SHARED, "test", b"x").expose())


def test_rfc_5869_case_3() -> None:
    """Without salt and info; the RFC's output is longer, and begins with the 32 bytes used here."""
    assert hkdf(b"\x0b" * 22, b"").hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


def test_derivations_differ_by_purpose_and_by_where_fields_end() -> None:
    made = [
        derive(SHARED, "one", b"ab", b"c"),
        derive(SHARED, "one", b"a", b"bc"),
        derive(SHARED, "one", b"abc"),
        derive(SHARED, "two", b"abc"),
        derive(SHARED, "one", b"abc", b""),
    ]
    assert len({bytes(key.expose()) for key in made}) == len(made)


@pytest.mark.parametrize("public", LOW_ORDER)
def test_low_order_keys_are_refused_and_the_peer_is_named(public: bytes) -> None:
    with pytest.raises(SecureSumError, match="mallory") as refusal:
        MaskKey.generate().agree("mallory", public, "test")
    assert refusal.value.__cause__ is None
    with pytest.raises(SecureSumError, match="low order"):
        consent("mallory", public)


@pytest.mark.parametrize(
    "public",
    [
        b"",
        bytes(31),
        bytes(33),
        PRIME.to_bytes(32, "little"),  # zero, written another way
        (PRIME + 9).to_bytes(32, "little"),  # the base point, written another way
        bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882bcf"),  # Bob's with the ignored bit
        b"\xff" * 32,
    ],
)
def test_a_key_has_one_encoding(public: bytes) -> None:
    with pytest.raises(SecureSumError):
        consent("mallory", public)


def test_fresh_keys_differ_and_are_erased() -> None:
    keys = [ShareKey.generate() for _ in range(20)]
    assert len({key.public for key in keys}) == 20
    keys[0].wipe()
    with pytest.raises(SecureSumError):
        keys[0].agree("peer", keys[1].public, "test")
