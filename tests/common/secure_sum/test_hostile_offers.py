"""Offers that a lying coordinator or dealer shows: a named error, and the sum goes on without them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from common.errors import ProtocolOrderError, SecureSumError, TooFewSitesError
from common.identity.secret import Secret
from common.secure_sum import dealing
from common.secure_sum.key_agreement import MaskKey, ShareKey
from common.secure_sum.messages import Box, Offer
from tests.support.secure_sum import PLAN, Consortium, Player, flipped, names, next_member

ME, BAD = "site_00", "site_02"


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
    offers = group.all_offers()
    with pytest.raises(SecureSumError, match=BAD):
        group.sites[ME].agree(PLAN, [*offers[:2], TAMPERED[what](offers), offers[3]])
    with pytest.raises(SecureSumError, match=BAD):
        group.half.add_offer(TAMPERED[what](offers))
    group.sites[ME].agree(PLAN, [*offers[:2], offers[3]])  # the sum goes on without it


@pytest.mark.parametrize("what", sorted(set(TAMPERED) - ONLY_THE_COORDINATOR_SEES))
def test_a_wrong_offer_under_a_right_signature_names_its_dealer_and_costs_nothing(what: str) -> None:
    """Another dealer's shares, an invented key, ...: made and signed by the dealer itself."""
    group = Consortium(4)
    offers = group.all_offers()
    bad = TAMPERED[what](offers).signed(group.signing[BAD])
    with pytest.raises(SecureSumError, match=BAD):
        group.sites[ME].agree(PLAN, [*offers[:2], bad, offers[3]])
    group.sites[ME].agree(PLAN, [*offers[:2], offers[3]])


def test_an_offer_with_anothers_key_is_refused() -> None:
    """Its boxes sealed by its own hand, so that all of them open: the key stands twice in U1."""
    group = Consortium(4)
    offers = group.all_offers()
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


@pytest.mark.parametrize("number", [0, 1, 2**255 - 20], ids=["0", "1", "p-1"])
def test_low_order_keys_do_not_even_parse(number: int) -> None:
    low = number.to_bytes(32, "little")
    offer = Consortium(3).all_offers()[0]
    with pytest.raises(SecureSumError, match="low order"):
        replace(offer, mask_key=low)
    with pytest.raises(SecureSumError, match="low order"):
        Offer.from_bytes(offer.to_bytes().replace(offer.mask_key, low))


def test_its_own_offer_must_be_there_as_it_was_sent() -> None:
    group = Consortium(4)
    offers = group.all_offers()
    changed = replace(offers[0], seed_digest=bytes(32)).signed(group.signing[ME])
    for shown in ([changed, *offers[1:]], offers[1:]):
        with pytest.raises(SecureSumError, match="own offer"):
            group.sites[ME].agree(PLAN, shown)


def test_sets_of_offers_that_no_sum_has() -> None:
    group, other = Consortium(4), Consortium(4)
    offers = group.all_offers()
    with pytest.raises(TooFewSitesError, match=r"2 .*3"):
        group.sites[ME].agree(PLAN, offers[:2])
    with pytest.raises(SecureSumError, match="twice"):
        group.sites[ME].agree(PLAN, [*offers, offers[3]])
    with pytest.raises(ProtocolOrderError, match="site_03"):
        group.sites[ME].agree(PLAN, [*offers[:3], other.all_offers()[3]])
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
