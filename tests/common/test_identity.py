"""Identities: a roster is what a reader takes it for, a signature serves one purpose, and a key cannot show itself."""

from __future__ import annotations

import copy
import pickle
import unicodedata

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from common.errors import IdentityError
from common.identity import roster as identity
from common.identity.roster import Roster, SigningKey, fingerprint
from common.identity.secret import Secret

PRIME = 2**255 - 19
KEYS = {name: SigningKey.generate() for name in ("north", "south", "west")}
ROSTER = Roster("test", {name: key.public for name, key in KEYS.items()})

# RFC 8032, section 7.1, tests 1 and 2
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    ),
]


def small_order_keys() -> list[bytes]:
    """The y of every point whose eightfold is the neutral one, from the curve's equation alone."""
    d = -121665 * pow(121666, -1, PRIME) % PRIME
    root = _root((1 + d) % PRIME)
    eighths = [y for sign in (1, -1) if (y := _root((-1 + sign * root) * pow(d, -1, PRIME) % PRIME))]
    return [y.to_bytes(32, "little") for y in (0, 1, PRIME - 1, *eighths, *(PRIME - y for y in eighths))]


def _root(square: int) -> int:
    root = pow(square, (PRIME + 3) // 8, PRIME)
    root = root if root * root % PRIME == square else root * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    return root if root * root % PRIME == square else 0


@pytest.mark.parametrize(("secret", "public"), RFC_8032)
def test_keys_are_those_of_rfc_8032(secret: str, public: str) -> None:
    assert SigningKey(Secret(bytes.fromhex(secret))).public.hex() == public


def test_a_signature_serves_its_signer_its_purpose_and_its_fields() -> None:
    signed = KEYS["north"].sign("offer", b"ab", b"c")
    ROSTER.require_signature("north", signed, "offer", b"ab", b"c")
    wrong: list[tuple[str, bytes, str, list[bytes]]] = [
        ("south", signed, "offer", [b"ab", b"c"]),
        ("north", signed, "confirmation", [b"ab", b"c"]),
        ("north", signed, "offer", [b"a", b"bc"]),
        ("north", signed, "offer", [b"abc"]),
        ("north", signed, "offer", [b"ab", b"c", b""]),
        ("north", signed[:-1], "offer", [b"ab", b"c"]),
        ("north", b"", "offer", [b"ab", b"c"]),
        ("nobody", signed, "offer", [b"ab", b"c"]),
    ]
    for name, signature, purpose, fields in wrong:
        with pytest.raises(IdentityError, match=name):
            ROSTER.require_signature(name, signature, purpose, *fields)


def test_one_key_under_two_names_is_refused() -> None:
    with pytest.raises(IdentityError, match="two names"):
        Roster("test", {"north": KEYS["north"].public, "south": KEYS["north"].public})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("clínica", unicodedata.normalize("NFD", "clínica")),
        ("ﬁrst", "first"),  # a ligature
        ("north", "North"),
        ("site１", "site1"),  # a full-width digit
        ("straße", "STRASSE"),
    ],
)
def test_names_that_a_reader_cannot_tell_apart_are_refused(one: str, other: str) -> None:
    assert one != other
    with pytest.raises(IdentityError, match="same to a reader"):
        Roster("test", {one: KEYS["north"].public, other: KEYS["south"].public})


def test_a_name_in_another_normal_form_is_the_same_member() -> None:
    roster = Roster("test", {unicodedata.normalize("NFD", "clínica"): KEYS["north"].public})
    roster.require_member("clínica", KEYS["north"].public)


def test_the_digest_tells_names_apart_by_where_they_end() -> None:
    keys = [key.public for key in KEYS.values()]
    rosters = [
        Roster("test", dict(zip(("a", "bc"), keys, strict=False))),
        Roster("test", dict(zip(("ab", "c"), keys, strict=False))),
        Roster("test", dict(zip(("a", "bc"), keys[::-1], strict=False))),
        Roster("tes", dict(zip(("ta", "bc"), keys, strict=False))),
        Roster("test", dict(zip(("a", "bc", "d"), keys, strict=False))),
    ]
    assert len({roster.digest for roster in rosters}) == len(rosters)
    again = dict(reversed(list(rosters[0].sites.items())))
    assert Roster("test", again).digest == rosters[0].digest, "the order of a file does not matter"


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), PRIME.to_bytes(32, "little"), b"\xff" * 32])
def test_bytes_that_are_no_key_are_refused(key: bytes) -> None:
    with pytest.raises(IdentityError, match="north"):
        Roster("test", {"north": key})


def test_keys_under_which_anybody_can_sign_are_refused() -> None:
    keys = small_order_keys()
    assert len(keys) == 5
    for key in keys:
        for sign in (0, 0x80):
            with pytest.raises(IdentityError, match="public Ed25519 key"):
                Roster("test", {"north": key[:31] + bytes([key[31] | sign])})


def test_under_the_neutral_key_a_signature_made_without_any_key_verifies() -> None:
    """Why they are refused: R the base point, s = 1, whatever the message."""
    neutral, base = (1).to_bytes(32, "little"), bytes([0x58]) + b"\x66" * 31
    forged = base + (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(neutral).verify(forged, b"whatever")


def test_a_roster_comes_back_from_its_file(tmp_path) -> None:
    (tmp_path / "roster.yaml").write_text(ROSTER.to_text(), encoding="utf-8")
    assert Roster.read(tmp_path / "roster.yaml") == ROSTER == Roster.parse(ROSTER.to_text())
    assert Roster.read(tmp_path / "roster.yaml").digest == ROSTER.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("consortium: x\nsites: {north: zz}\n", "hex"),
        ("consortium: x\nsites: {north: 00, north: 01}\n", "twice"),
        ("consortium: x\nsite: {}\nsites: {}\n", "unknown key"),
        ("sites: {north: 1}\n", "2 mistakes"),
        ("consortium: ''\nsites: {}\n", "name"),
    ],
)
def test_a_wrong_file_is_explained(text: str, said: str) -> None:
    with pytest.raises(IdentityError, match=said) as caught:
        Roster.parse(text)
    assert caught.value.__cause__ is None


def test_a_signing_key_cannot_show_itself() -> None:
    key = KEYS["north"]
    secret = bytes(key.expose())
    assert fingerprint(key.public) in repr(key)
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr(ROSTER)):
        assert secret.hex() not in shown and repr(secret)[2:-1] not in shown
    for act in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            act(key)


def test_fingerprints_are_short_and_differ() -> None:
    prints = {fingerprint(key.public) for key in KEYS.values()}
    assert len(prints) == 3 and all(len(text) == 39 for text in prints)


def test_a_member_is_known_by_name_and_key() -> None:
    ROSTER.require_member("north", KEYS["north"].public)
    for name, key in (("north", KEYS["south"].public), ("nobody", KEYS["north"].public)):
        with pytest.raises(IdentityError, match=name):
            ROSTER.require_member(name, key)
    assert len(KEYS["north"].public) == identity.KEY_BYTES
