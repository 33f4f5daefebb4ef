"""Hostile coordinators, dealers and holders: a named error, and no number that is not the sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from common.errors import IdentityError, ProtocolOrderError, SecureSumError, TooFewSitesError
from common.secure_sum import dealing
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.key_agreement import MaskKey, ShareKey
from common.secure_sum.messages import Box, MaskedVector, Offer, Reveal, RevealedShare
from common.secure_sum.packing import pack
from common.secure_sum.secret import Secret
from common.secure_sum.secret_sharing import deal_shares
from tests.support.secure_sum import PLAN, Consortium, Player, names, next_member

ME, BAD = "site_00", "site_02"
OTHER_PLAN = bytes(32)


def offers_of(group: Consortium) -> list[Offer]:
    return [site.offer(group.context) for site in group.sites.values()]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# ------------------------------------------------------------------------------- offers that a site is shown (leg 1)


def with_my_box(offer: Offer, box: Box) -> Offer:
    return replace(offer, boxes=(box, *offer.boxes[1:]))


TAMPERED: dict[str, Callable[[list[Offer]], Offer]] = {
    "a bit of the box": lambda o: with_my_box(o[2], replace(o[2].boxes[0], sealed=flipped(o[2].boxes[0].sealed, 70))),
    "the box's tag": lambda o: with_my_box(
        o[2], replace(o[2].boxes[0], sealed=flipped(o[2].boxes[0].sealed, -1 + 148))
    ),
    "the box of another holder": lambda o: with_my_box(o[2], replace(o[2].boxes[0], sealed=o[2].boxes[1].sealed)),
    "the box of another dealer": lambda o: with_my_box(o[2], o[1].boxes[0]),
    "all boxes of another dealer": lambda o: replace(
        o[2], boxes=(o[1].boxes[0], o[0].boxes[1], o[2].boxes[2], o[1].boxes[3])
    ),
    "the digest of a share": lambda o: with_my_box(o[2], replace(o[2].boxes[0], key_digest=bytes(32))),
    "digests exchanged": lambda o: with_my_box(
        o[2], Box(o[2].boxes[0].sealed, o[2].boxes[0].seed_digest, o[2].boxes[0].key_digest)
    ),
    "an invented key": lambda o: replace(o[2], mask_key=MaskKey.generate().public),
    "no box": lambda o: with_my_box(o[2], replace(o[2].boxes[0], sealed=b"")),
    "a box too few": lambda o: replace(o[2], boxes=o[2].boxes[:-1]),
    "a box too many": lambda o: replace(o[2], boxes=(*o[2].boxes, o[2].boxes[0])),
    "a box for itself": lambda o: replace(o[2], boxes=(*o[2].boxes[:2], o[2].boxes[1], o[2].boxes[3])),
    "another digest of its seed": lambda o: replace(o[2], seed_digest=bytes(32)),
    "a consent to the sum after the next": lambda o: replace(o[2], following=replace(o[2].following, number=3)),
}
# What only the signature shows: sealed boxes still open, and H(b) is compared when the sum is opened.
ONLY_THE_COORDINATOR_SEES = {"another digest of its seed"}


@pytest.mark.parametrize("what", TAMPERED)
def test_an_offer_that_was_tampered_with_is_refused(what: str) -> None:
    """Between a site and the others, by the coordinator: the site's signature does not cover it."""
    group = Consortium(4)
    offers = offers_of(group)
    with pytest.raises(SecureSumError, match=BAD):
        group.sites[ME].agree(PLAN, [*offers[:2], TAMPERED[what](offers), offers[3]])
    with pytest.raises(SecureSumError, match=BAD):
        group.half.add_offer(TAMPERED[what](offers))
    group.sites[ME].agree(PLAN, [*offers[:2], offers[3]])  # the sum goes on without it


@pytest.mark.parametrize("what", sorted(set(TAMPERED) - ONLY_THE_COORDINATOR_SEES))
def test_a_wrong_offer_under_a_right_signature_names_its_dealer_and_costs_nothing(what: str) -> None:
    """Another dealer's shares, an invented key, ...: made and signed by the dealer itself."""
    group = Consortium(4)
    offers = offers_of(group)
    bad = TAMPERED[what](offers).signed(group.signing[BAD])
    with pytest.raises(SecureSumError, match=BAD):
        group.sites[ME].agree(PLAN, [*offers[:2], bad, offers[3]])
    group.sites[ME].agree(PLAN, [*offers[:2], offers[3]])


def test_an_offer_with_anothers_key_is_refused() -> None:
    """Its boxes sealed by its own hand, so that all of them open: the key stands twice in U1."""
    group = Consortium(4)
    offers = offers_of(group)
    copied = MaskKey.generate()
    copied.public = offers[1].mask_key
    following = next_member(group.members[BAD], group.signing[BAD])
    unsigned, _ = dealing.deal(group.context, following, group.keys[BAD], copied, Secret.random(32))
    bad = unsigned.signed(group.signing[BAD])
    with pytest.raises(SecureSumError, match="same key"):
        group.sites[ME].agree(PLAN, [*offers[:2], bad, offers[3]])
    for offer in offers[:2]:
        group.half.add_offer(offer)
    with pytest.raises(SecureSumError, match=BAD):
        group.half.add_offer(bad)


@pytest.mark.parametrize("low", [bytes(32), (1).to_bytes(32, "little"), (2**255 - 20).to_bytes(32, "little")])
def test_low_order_keys_do_not_even_parse(low: bytes) -> None:
    offer = offers_of(Consortium(3))[0]
    with pytest.raises(SecureSumError, match="low order"):
        replace(offer, mask_key=low)
    with pytest.raises(SecureSumError, match="low order"):
        Offer.from_bytes(offer.to_bytes().replace(offer.mask_key, low))


def test_its_own_offer_must_be_there_as_it_was_sent() -> None:
    group = Consortium(4)
    offers = offers_of(group)
    changed = replace(offers[0], seed_digest=bytes(32)).signed(group.signing[ME])
    for shown in ([changed, *offers[1:]], offers[1:]):
        with pytest.raises(SecureSumError, match="own offer"):
            group.sites[ME].agree(PLAN, shown)


def test_sets_of_offers_that_no_sum_has() -> None:
    group, other = Consortium(4), Consortium(4)
    offers = offers_of(group)
    with pytest.raises(TooFewSitesError, match=r"2 .*3"):
        group.sites[ME].agree(PLAN, offers[:2])
    with pytest.raises(SecureSumError, match="twice"):
        group.sites[ME].agree(PLAN, [*offers, offers[3]])
    with pytest.raises(ProtocolOrderError, match="site_03"):
        group.sites[ME].agree(PLAN, [*offers[:3], offers_of(other)[3]])
    renamed = replace(offers[3], name="stranger", following=replace(offers[3].following, name="stranger"))
    with pytest.raises(ProtocolOrderError, match="stranger"):
        group.sites[ME].agree(PLAN, [*offers, renamed])
    with pytest.raises(SecureSumError):
        group.sites[ME].agree(b"short", offers)


@pytest.mark.parametrize("change", ["number", "run", "threshold", "bits", "members"])
def test_a_site_that_was_shown_another_context_is_not_of_this_sum(change: str) -> None:
    """Another number, t, width, or a swapped `ek`: its offer carries another context's digest."""
    group = Consortium(4)
    other = replace(group.members["site_03"], share_key=ShareKey.generate().public).signed(group.signing["site_03"])
    swapped = (*group.context.members[:3], other)
    shown = {"number": 2, "run": "other", "threshold": 4, "bits": 24, "members": swapped}[change]
    offers = [group.sites[name].offer(group.context) for name in names(3) if name != BAD]
    about = group.another(**{change: shown})
    mine = about.members[2]
    odd = Player(mine, group.keys[BAD], group.signing[BAD], group.roster).offer(about)
    with pytest.raises(ProtocolOrderError, match=BAD):
        group.half.add_offer(odd)
    with pytest.raises(ProtocolOrderError, match=BAD):
        group.sites[ME].agree(PLAN, [*offers, odd, group.sites["site_03"].offer(group.context)])


# --------------------------------------------------------------------------------------- two views of plan or offers


@pytest.mark.parametrize("view", ["plan", "offers"])
def test_a_site_with_another_view_is_found_out_and_cannot_be_unmasked(view: str) -> None:
    group = Consortium(5).until("mask")
    offers = group.half.offers
    for name in names(4):
        group.half.add_masked(*group.sites[name].mask(PLAN, offers, group.words[name]))
    plan, shown = (OTHER_PLAN, offers) if view == "plan" else (PLAN, offers[1:])
    odd, packed = group.sites["site_04"].mask(plan, shown, group.words["site_04"])
    with pytest.raises(SecureSumError, match="site_04"):
        group.half.add_masked(odd, packed)
    # A coordinator that adds it all the same, and gets every share that the sites will give:
    forged = replace(odd, transcript=group.half._transcript).signed(group.signing["site_04"])
    group.half.add_masked(forged, packed)
    for name in names(4):
        group.half.add_confirmation(group.sites[name].confirm(group.half.survivors))
    seen = group.half.survivors if view == "plan" else group.half.survivors[1:]  # the same U2, but another T
    with pytest.raises(SecureSumError, match="site_04"):
        group.half.add_confirmation(group.sites["site_04"].confirm(seen))
    for name in names(4):
        group.half.add_reveal(group.sites[name].reveal(group.half.confirmations))
    assert np.count_nonzero(group.half.open() == group.plain()) <= 1  # five words, each equal by chance once in 2^32


# ------------------------------------------------------------------------------------------- survivors, confirmations


@pytest.mark.parametrize(
    ("survivors", "error"),
    [
        (names(3), TooFewSitesError),
        ([], SecureSumError),
        (names(5)[1:], SecureSumError),  # enough, but without this site
        ([*names(4), "stranger"], SecureSumError),
        ([*names(4), "site_05"], SecureSumError),  # in R, but not in U1
        ([*names(4), "site_01"], SecureSumError),  # one site twice
    ],
)
def test_wrong_survivors_are_not_confirmed(survivors: Sequence[str], error: type[SecureSumError]) -> None:
    group = Consortium(6, threshold=4, leave={"site_05": "offer"}).until("confirm")
    with pytest.raises(error):
        group.sites[ME].confirm(survivors)
    group.sites[ME].confirm(names(5))


def test_shares_need_enough_confirmations_of_the_same() -> None:
    group = Consortium(6, leave={"site_05": "mask"}).until("reveal")  # t = 4
    good = group.half.confirmations
    other = Consortium(6).until("reveal").half.confirmations
    site = group.sites[ME]
    wrong: list[tuple[Sequence[object], type[SecureSumError], str]] = [
        (good[:3], TooFewSitesError, "3 .*4"),
        ([*good[:3], good[0]], SecureSumError, "twice"),
        ([*good[:3], replace(good[3], name="site_05")], ProtocolOrderError, "site_05"),  # not in U2
        ([*good[:3], replace(good[3], name="stranger")], ProtocolOrderError, "stranger"),
        ([*good[:3], other[3]], ProtocolOrderError, "site_03"),  # of another sum
        ([*good[:3], replace(good[3], agreed=other[3].agreed)], SecureSumError, "site_03"),  # over another (T, U2)
        ([*good[:3], replace(good[3], signature=good[2].signature)], IdentityError, "site_03"),
        ([*good[:3], replace(good[3], signature=b"")], IdentityError, "site_03"),
        ([*good[:3], replace(good[3], signature=group.half.offers[3].signature)], IdentityError, "site_03"),
        ([*good[:3], replace(good[2], name="site_03")], IdentityError, "site_03"),  # one signer as two
        ([], TooFewSitesError, "0 .*4"),
    ]
    for confirmations, error, text in wrong:
        with pytest.raises(error, match=text):
            site.reveal(confirmations)  # type: ignore[arg-type]
    assert len(site.reveal(good).seeds) == 5


def test_sites_that_confirmed_different_survivors_do_not_open_each_others() -> None:
    group = Consortium(6).until("confirm")
    one = [group.sites[name].confirm(names(5)) for name in names(3)]
    two = [group.sites[name].confirm(names(6)[1:]) for name in names(6)[3:]]
    for name in names(6):
        with pytest.raises(SecureSumError):
            group.sites[name].reveal([*one, *two][:5])


# ----------------------------------------------------------------------------------------------- dealers and holders


def deal_wrongly(monkeypatch: pytest.MonkeyPatch, group: Consortium, secret: int, how: str) -> Offer:
    """BAD's offer, with boxes and digests in order, but shares of another mask key (`secret` 0) or seed (1)."""
    calls = []

    def wrong(true: Secret, threshold: int, holders: int) -> list[Secret]:
        calls.append(true)
        shares = deal_shares(true, threshold, holders)
        if len(calls) - 1 == secret:
            false = deal_shares(Secret.random(32), threshold, holders)
            return false if how == "another secret" else [false[0], *shares[1:]]
        return shares

    with monkeypatch.context() as patch:
        patch.setattr(dealing, "deal_shares", wrong)
        return group.sites[BAD].offer(group.context)


@pytest.mark.parametrize("how", ["another secret", "one share off"])
@pytest.mark.parametrize("secret", [0, 1])
def test_a_dealer_of_wrong_shares_is_named(monkeypatch: pytest.MonkeyPatch, secret: int, how: str) -> None:
    group = Consortium(4, leave={BAD: "mask"} if secret == 0 else {})
    deal_wrongly(monkeypatch, group, secret, how)
    with pytest.raises(SecureSumError, match=f"{BAD}.*no sum"):
        group.open()
    with pytest.raises(SecureSumError, match=f"{BAD}.*no sum"):
        group.half.open()


WRONG_REVEALS: dict[str, Callable[[Reveal, Reveal], Reveal]] = {
    "a bit of a share": lambda mine, _: replace(
        mine, seeds=(RevealedShare(ME, flipped(mine.seeds[0].share, 9)), *mine.seeds[1:])
    ),
    "a bit of a key's share": lambda mine, _: replace(
        mine, keys=tuple(RevealedShare(item.dealer, flipped(item.share, 65)) for item in mine.keys)
    ),
    "the share of another holder": lambda mine, other: replace(mine, seeds=(other.seeds[0], *mine.seeds[1:])),
    "shares of two dealers exchanged": lambda mine, _: replace(
        mine,
        seeds=(
            RevealedShare(mine.seeds[0].dealer, mine.seeds[1].share),
            RevealedShare(mine.seeds[1].dealer, mine.seeds[0].share),
            *mine.seeds[2:],
        ),
    ),
    "a share missing": lambda mine, _: replace(mine, seeds=mine.seeds[1:]),
    "no key": lambda mine, _: replace(mine, keys=()),
    "a survivor as vanished": lambda mine, _: replace(mine, seeds=mine.seeds[1:], keys=(mine.seeds[0], *mine.keys)),
}


@pytest.mark.parametrize("what", WRONG_REVEALS)
def test_a_holder_of_wrong_shares_is_named_and_the_sum_opens_without_it(what: str) -> None:
    group = Consortium(6, leave={"site_05": "mask"}).until("reveal")
    reveals = {name: group.sites[name].reveal(group.half.confirmations) for name in group.half.survivors}
    wrong = WRONG_REVEALS[what](reveals[BAD], reveals[ME])
    for given in (wrong, wrong.signed(group.signing[BAD])):  # changed on its way, and by the holder itself
        with pytest.raises(SecureSumError, match=BAD):
            group.half.add_reveal(given)
    for name in names(5):
        if name != BAD:
            group.half.add_reveal(reveals[name])
    assert np.array_equal(group.half.open(), group.plain())


# ------------------------------------------------------------------------------------------ what the coordinator takes


def test_the_coordinator_takes_each_message_once_in_its_leg_and_from_its_site() -> None:
    group, other = Consortium(4), Consortium(4).until("open")
    half = group.half
    offer = other.half.offers[0]
    masked = MaskedVector(group.context.digest, bytes(32), ME, 5)
    confirmation = other.half.confirmations[0]
    reveal = other.sites[ME].reveal(other.half.confirmations)
    for early in (
        lambda: half.add_offer(offer),
        lambda: half.add_masked(masked, bytes(20)),
        lambda: half.add_confirmation(confirmation),
        lambda: half.add_reveal(reveal),
    ):
        with pytest.raises(ProtocolOrderError):
            early()
    for look in (lambda: half.survivors, lambda: half.confirmations, half.open):
        with pytest.raises(ProtocolOrderError):
            look()

    group.offer()
    with pytest.raises(ProtocolOrderError, match="already"):
        half.add_offer(group.sites[ME].offer(group.context))
    assert len(half.offers) == 4
    with pytest.raises(ProtocolOrderError):
        half.add_offer(group.sites[ME].offer(group.context))

    group.mask()
    with pytest.raises(ProtocolOrderError, match="already"):
        half.add_masked(*group.sites[ME].mask(PLAN, half.offers, group.words[ME]))
    assert half.survivors == tuple(names(4))
    with pytest.raises(ProtocolOrderError):
        half.add_masked(*group.sites[ME].mask(PLAN, half.offers, group.words[ME]))

    with pytest.raises(ProtocolOrderError):
        half.add_confirmation(confirmation)
    group.confirm()
    with pytest.raises(ProtocolOrderError, match="already"):
        half.add_confirmation(group.sites[ME].confirm(names(4)))
    assert len(half.confirmations) == 4
    with pytest.raises(ProtocolOrderError):
        half.add_confirmation(group.sites[ME].confirm(names(4)))

    with pytest.raises(ProtocolOrderError):
        half.add_reveal(reveal)
    group.reveal()
    with pytest.raises(ProtocolOrderError, match="already"):
        half.add_reveal(group.sites[ME].reveal(half.confirmations))
    assert np.array_equal(half.open(), group.plain())
    with pytest.raises(ProtocolOrderError):
        half.open()
    with pytest.raises(ProtocolOrderError):
        half.add_reveal(group.sites[ME].reveal(half.confirmations))


def test_a_late_vector_is_refused() -> None:
    group = Consortium(4, leave={"site_03": "mask"}).until("confirm")
    late = group.sites["site_03"].mask(PLAN, group.half.offers, group.words["site_03"])
    assert group.half.survivors == tuple(names(3))
    with pytest.raises(ProtocolOrderError):
        group.half.add_masked(*late)


def test_a_wrong_vector_leaves_the_sum_as_it_was() -> None:
    group, other = Consortium(4, 6, bits=20).until("mask"), Consortium(4, 6, bits=20).until("mask")
    good, packed = group.sites[ME].mask(PLAN, group.half.offers, group.words[ME])
    foreign, _ = other.sites[ME].mask(PLAN, other.half.offers, group.words[ME])
    key = group.signing[ME]
    five = np.frombuffer(pack(np.zeros(5, dtype=np.uint32), 20), dtype=np.uint8)
    wide = np.frombuffer(pack(np.zeros(6, dtype=np.uint32), 24), dtype=np.uint8)
    wrong: list[tuple[MaskedVector, np.ndarray, type[SecureSumError]]] = [
        (foreign, packed, ProtocolOrderError),  # of another study
        (replace(good, context=bytes(32)).signed(key), packed, ProtocolOrderError),
        (replace(good, transcript=bytes(32)).signed(key), packed, SecureSumError),
        (replace(good, name="stranger").signed(key), packed, ProtocolOrderError),
        (replace(good, count=5).signed(key), five, SecureSumError),
        (replace(good, count=2**40).signed(key), packed, SecureSumError),
        (replace(good, count=5), five, IdentityError),
        (replace(good, signature=b""), packed, IdentityError),
        (good, packed[:-1], SecureSumError),
        (good, np.append(packed, np.uint8(0)), SecureSumError),
        (good, wide, SecureSumError),
    ]
    for head, words, error in wrong:
        with pytest.raises(error):
            group.half.add_masked(head, words)
    group.mask()
    group.confirm()
    group.reveal()
    assert np.array_equal(group.half.open(), group.plain())


def test_a_vector_under_another_sites_name_is_refused_and_the_sum_stays_right() -> None:
    group = Consortium(4).until("mask")
    sent = {name: group.sites[name].mask(PLAN, group.half.offers, group.words[name]) for name in group.sites}
    for name, claimed in ((ME, "site_01"), ("site_01", ME), (BAD, "site_03")):
        head, packed = sent[name]
        for forged in (replace(head, name=claimed), replace(head, name=claimed).signed(group.signing[name])):
            with pytest.raises(IdentityError, match=claimed):
                group.half.add_masked(forged, packed)
    group.mask()
    group.confirm()
    group.reveal()
    assert np.array_equal(group.half.open(), group.plain())


def test_an_empty_coordinator_says_how_many_are_needed() -> None:
    with pytest.raises(TooFewSitesError, match=r"0 .*3"):
        _ = CoordinatorSum((group := Consortium(4)).context, PLAN, 3, group.roster).offers
