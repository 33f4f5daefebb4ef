"""Messages: one encoding each, nothing else parses, and names that look alike are one name."""

from __future__ import annotations

import dataclasses
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ProtocolOrderError, SecureSumError
from common.identity.encoding import digest, encode, split
from common.secure_sum.key_agreement import ShareKey
from common.secure_sum.messages import (
    Box,
    Confirmation,
    MaskedVector,
    Member,
    Message,
    Offer,
    Reveal,
    RevealedShare,
    SumContext,
)
from tests.support.secure_sum import Consortium, consent

DIGEST = bytes(range(32))
EK = [ShareKey.generate().public for _ in range(4)]
MEMBERS = tuple(consent(name, ek) for name, ek in zip("abcd", EK, strict=True))
CONTEXT = SumContext(DIGEST, DIGEST, "run", 7, 3, MEMBERS, 1, 20)
BOX = Box(bytes(148), DIGEST, DIGEST)
SHARE = RevealedShare("a", bytes(66))
MESSAGES: list[Message] = [
    CONTEXT.members[0],
    CONTEXT,
    BOX,
    Offer(DIGEST, "b", EK[0], MEMBERS[1], DIGEST, (BOX, Box(b"", DIGEST, DIGEST), BOX), b"signed"),
    MaskedVector(DIGEST, DIGEST, "c", 5, b"signed"),
    Confirmation(DIGEST, "d", DIGEST[::-1], b"signed"),
    SHARE,
    Reveal(DIGEST, "a", (SHARE, RevealedShare("b", bytes(66))), (RevealedShare("c", bytes(66)),), b"signed"),
]


def key(name: object) -> str:
    return type(name).__name__


@given(st.lists(st.binary(max_size=20), max_size=6), st.lists(st.binary(max_size=20), max_size=6))
def test_lists_of_fields_have_different_bytes(one: list[bytes], other: list[bytes]) -> None:
    assert split(encode(*one)) == one
    assert (encode(*one) == encode(*other)) == (one == other)
    assert (digest("p", *one) == digest("p", *other)) == (one == other)
    assert digest("p", *one) != digest("q", *one)


@pytest.mark.parametrize("message", MESSAGES, ids=key)
def test_messages_come_back(message: Message) -> None:
    data = message.to_bytes()
    assert type(message).from_bytes(data) == message
    assert type(message).from_bytes(data).to_bytes() == data


@pytest.mark.parametrize("message", MESSAGES, ids=key)
def test_bytes_that_are_cut_or_continued_are_refused(message: Message) -> None:
    data = message.to_bytes()
    wrong = [data + b"\0", data + data, b"\0" + data, data + encode(b""), b"", encode(), encode(b"")]
    for bytes_ in (*wrong, *(data[:end] for end in range(len(data)))):
        with pytest.raises(SecureSumError):
            type(message).from_bytes(bytes_)


@pytest.mark.parametrize("message", MESSAGES, ids=key)
def test_no_type_parses_as_another(message: Message) -> None:
    for other in {type(other) for other in MESSAGES} - {type(message)}:
        with pytest.raises(SecureSumError):
            other.from_bytes(message.to_bytes())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(MESSAGES), st.data())
def test_changed_bytes_are_refused_or_are_another_message(message: Message, data: st.DataObject) -> None:
    changed = bytearray(message.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        parsed = type(message).from_bytes(bytes(changed))
    except SecureSumError:
        return
    assert parsed.to_bytes() == changed
    assert (parsed == message) == (changed == message.to_bytes())


def test_real_messages_come_back() -> None:
    group = Consortium(4, leave={"site_00": "mask"}).until("mask")
    offers = group.half.offers
    head, _ = group.sites["site_01"].mask(bytes(range(32)), offers, group.words["site_01"])
    for message in (group.context, *offers, head):
        assert type(message).from_bytes(message.to_bytes()) == message


def test_no_message_prints_bytes_of_keys_shares_or_vectors() -> None:
    for message in MESSAGES:
        shown = repr(message)
        for field in dataclasses.fields(message):  # type: ignore[arg-type]
            value = getattr(message, field.name)
            if isinstance(value, bytes) and value:
                assert repr(value)[2:-1] not in shown


@pytest.mark.parametrize(
    "change",
    [
        {"study": DIGEST[:-1] + b"\0"},
        {"roster": DIGEST[:-1] + b"\0"},
        {"run": "ruN"},
        {"number": 8},
        {"threshold": 4},
        {"members": CONTEXT.members[:3]},
        {"members": (consent("a", EK[1]), consent("b", EK[0]), *MEMBERS[2:])},
        {"members": (*MEMBERS[:3], consent("e", EK[3]))},
        {"members": (*MEMBERS[:3], consent("d", EK[3], modalities=("image", "note")))},
        {"members": (*MEMBERS[:3], replace(MEMBERS[3], signature=b"signed"))},
        {"colluding": 2, "threshold": 4},
        {"bits": 24},
    ],
)
def test_everything_in_the_context_is_in_its_digest(change: dict[str, object]) -> None:
    about = {name: value for name, value in change.items() if name in ("study", "roster", "run", "number")}
    members = change.pop("members", tuple(replace(member, **about) for member in MEMBERS))  # type: ignore[arg-type]
    assert replace(CONTEXT, members=members, **change).digest != CONTEXT.digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "about", [{"study": DIGEST[::-1]}, {"roster": DIGEST[::-1]}, {"run": "other"}, {"number": 6}, {"number": 8}]
)
def test_a_consent_to_another_sum_makes_no_context(about: dict[str, object]) -> None:
    with pytest.raises(ProtocolOrderError, match="'c'"):
        replace(CONTEXT, members=(*MEMBERS[:2], replace(MEMBERS[2], **about), MEMBERS[3]))  # type: ignore[arg-type]


def test_names_are_split_by_their_lengths() -> None:
    one = replace(CONTEXT, members=tuple(consent(n, k) for n, k in zip(("a", "bc", "d"), EK, strict=False)))
    other = replace(CONTEXT, members=tuple(consent(n, k) for n, k in zip(("ab", "c", "d"), EK, strict=False)))
    assert one.digest != other.digest


def test_one_name_written_two_ways_is_one_name() -> None:
    composed, decomposed = "clínica", unicodedata.normalize("NFD", "clínica")
    assert composed != decomposed
    assert consent(composed, EK[0]).to_bytes() == consent(decomposed, EK[0]).to_bytes()
    with pytest.raises(SecureSumError):
        replace(CONTEXT, members=(consent(decomposed, EK[0]), consent(composed, EK[1]), consent("d", EK[2])))
    fields = split(consent(composed, EK[0]).to_bytes())
    assert Member.from_bytes(encode(*fields)).name == composed
    wrong = [decomposed.encode() if field == composed.encode() else field for field in fields]
    with pytest.raises(SecureSumError):
        Member.from_bytes(encode(*wrong))


@pytest.mark.parametrize("name", ["", "a\nb", "a\0", "x" * 201, "\u202eabc", "\ud800"])
def test_names_that_a_log_cannot_show_are_refused(name: str) -> None:
    with pytest.raises(SecureSumError):
        consent(name, EK[0])


@pytest.mark.parametrize(
    "members",
    [
        (),
        [("b", 0), ("a", 1), ("c", 2)],  # not in the order of names
        [("a", 0), ("a", 1), ("b", 2)],  # a name twice
        [("a", 0), ("b", 0), ("c", 1)],  # a key under two names
    ],
)
def test_lists_of_sites_are_ordered_and_distinct(members: list[tuple[str, int]]) -> None:
    with pytest.raises(SecureSumError):
        replace(CONTEXT, members=tuple(consent(name, EK[i]) for name, i in members))


@pytest.mark.parametrize(
    "change",
    [{"study": b"short"}, {"bits": 15}, {"bits": 33}, {"number": -1}, {"number": 2**63}, {"run": ""}, {"colluding": 0}],
)
def test_contexts_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(SecureSumError):
        replace(CONTEXT, **change)  # type: ignore[arg-type]


def test_places_count_from_one_and_strangers_have_none() -> None:
    assert [CONTEXT.place(name) for name in "abcd"] == [1, 2, 3, 4]
    with pytest.raises(ProtocolOrderError):
        CONTEXT.place("e")


def test_a_reveal_never_has_both_secrets_of_a_site() -> None:
    with pytest.raises(SecureSumError):
        Reveal(DIGEST, "a", (SHARE,), (SHARE,))
    for twice in ((SHARE, SHARE), (RevealedShare("b", bytes(66)), SHARE)):
        with pytest.raises(SecureSumError):
            Reveal(DIGEST, "a", twice, ())
        with pytest.raises(SecureSumError):
            Reveal(DIGEST, "a", (), twice)
