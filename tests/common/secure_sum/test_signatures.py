"""What a site did not say itself, for just this purpose and this sum, is refused, and the site is named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from common.errors import IdentityError, ProtocolOrderError, SecureSumError
from common.identity.roster import Roster, SigningKey
from common.identity.secret import Secret
from common.secure_sum import dealing, masking, messages
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.dealing import open_box
from common.secure_sum.key_agreement import MaskKey, ShareKey
from common.secure_sum.masking import adds, encrypt, key_stream, pairwise_mask_key, self_mask_key
from common.secure_sum.messages import Confirmation, MaskedVector, Member, Offer, Reveal, SumContext
from common.secure_sum.secret_sharing import combine
from common.secure_sum.transcript import order_offers, survivors_digest, transcript
from tests.support.secure_sum import PLAN, Consortium, apply_masks, names

ME, BAD = "site_00", "site_02"


def with_member(group: Consortium, member: Member) -> SumContext:
    """The context that a coordinator would show with this in place of the site's own consent."""
    members = tuple(member if each.name == member.name else each for each in group.context.members)
    return replace(group.context, members=members)


MINE = ShareKey.generate().public  # of a coordinator that would like to read the shares
FALSE_CONSENTS: dict[str, Callable[[Consortium], Member]] = {
    "the coordinator's key": lambda g: replace(g.members[BAD], share_key=MINE),
    "the coordinator's key, signed by the coordinator": lambda g: replace(g.members[BAD], share_key=MINE).signed(
        SigningKey.generate()
    ),
    "the coordinator's key, signed by another site": lambda g: replace(g.members[BAD], share_key=MINE).signed(
        g.signing["site_01"]
    ),
    "a modality that it does not have": lambda g: replace(g.members[BAD], modalities=("image", "note")),
    "no signature": lambda g: replace(g.members[BAD], signature=b""),
    "half a signature": lambda g: replace(g.members[BAD], signature=g.members[BAD].signature[:32]),
    "the signature of an earlier number": lambda g: replace(
        g.members[BAD], signature=replace(g.members[BAD], number=0).signed(g.signing[BAD]).signature
    ),
    "the signature of another run": lambda g: replace(
        g.members[BAD], signature=replace(g.members[BAD], run="x").signed(g.signing[BAD]).signature
    ),
}


@pytest.mark.parametrize("what", FALSE_CONSENTS)
def test_a_consent_that_its_site_did_not_give_is_refused(what: str) -> None:
    """Swapped, invented and replayed share keys: before anything is dealt."""
    group = Consortium(4)
    false = with_member(group, FALSE_CONSENTS[what](group))
    with pytest.raises(IdentityError, match=BAD):
        group.sites[ME].offer(false)
    with pytest.raises(IdentityError, match=BAD):
        CoordinatorSum(false, PLAN, 5, group.roster)
    assert isinstance(group.sites[ME].offer(group.context), Offer), "nothing was used up"


def test_share_keys_of_two_sites_exchanged_are_refused() -> None:
    group = Consortium(4)
    one, two = group.members["site_01"], group.members[BAD]
    swapped = {"site_01": replace(one, share_key=two.share_key), BAD: replace(two, share_key=one.share_key)}
    members = tuple(swapped.get(member.name, member) for member in group.context.members)
    with pytest.raises(IdentityError, match="site_01"):
        group.sites[ME].offer(replace(group.context, members=members))


@pytest.mark.parametrize("about", ["study", "run", "number"])
def test_a_consent_to_another_sum_is_refused_though_it_is_signed(about: str) -> None:
    group = Consortium(4)
    other = {"study": os.urandom(32), "run": "other", "number": 0}[about]
    replayed = replace(group.members[BAD], **{about: other}).signed(group.signing[BAD])
    with pytest.raises(ProtocolOrderError, match=BAD):
        with_member(group, replayed)


def test_a_sum_of_another_roster_is_refused() -> None:
    """A coordinator that made up the others: their signatures are right, under keys that this site never pinned."""
    group = Consortium(4)
    keys = {name: SigningKey.generate() if name != ME else group.signing[ME] for name in group.sites}
    invented = Roster("test", {name: key.public for name, key in keys.items()})
    members = tuple(replace(m, roster=invented.digest).signed(keys[m.name]) for m in group.context.members)
    with pytest.raises(IdentityError, match="roster"):
        group.sites[ME].offer(replace(group.context, roster=invented.digest, members=members))
    claimed = tuple(member.signed(keys[member.name]) for member in group.context.members)
    with pytest.raises(IdentityError, match="site_01"):
        group.sites[ME].offer(replace(group.context, members=claimed))


def test_a_site_outside_the_roster_holds_no_shares() -> None:
    group, key = Consortium(4), SigningKey.generate()
    stranger = replace(group.members[BAD], name="stranger", share_key=MINE).signed(key)
    with pytest.raises(IdentityError, match="stranger"):
        group.sites[ME].offer(replace(group.context, members=(*group.context.members, stranger), threshold=4))


class Said:
    """One message of each kind that BAD signed in one honest sum."""

    def __init__(self) -> None:
        self.group = Consortium(4).until("open")
        group = self.group
        self.member = group.members[BAD]
        self.offer = next(offer for offer in group.half.offers if offer.name == BAD)
        self.head = MaskedVector(group.context.digest, group.half._transcript, BAD, 5).signed(group.signing[BAD])
        self.confirmation = next(item for item in group.half.confirmations if item.name == BAD)
        self.reveal: Reveal = group.half._reveals[BAD]

    @property
    def all(self) -> list[messages.Signed]:
        return [self.member, self.offer, self.offer.following, self.head, self.confirmation, self.reveal]


def test_no_signature_serves_another_message() -> None:
    """An offer's signature as a confirmation, a confirmation's as an upload, ...: 30 pairs."""
    said = Said()
    for message in said.all:
        message.require_signed(said.group.roster)
        for other in said.all:
            if other is not message:
                with pytest.raises(IdentityError, match=BAD):
                    replace(message, signature=other.signature).require_signed(said.group.roster)  # type: ignore[type-var]


def test_every_field_is_under_the_signature() -> None:
    said = Said()
    zero = bytes(32)
    changed: list[messages.Signed] = [
        *(replace(said.member, **{name: zero}) for name in ("study", "roster")),  # type: ignore[arg-type]
        replace(said.member, run="x"),
        replace(said.member, number=2),
        replace(said.member, modalities=()),
        replace(said.member, share_key=MINE),
        *(replace(said.offer, **{name: zero}) for name in ("context", "seed_digest")),  # type: ignore[arg-type]
        replace(said.offer, mask_key=MINE),
        replace(said.offer, following=replace(said.offer.following, share_key=MINE)),
        replace(said.offer, boxes=said.offer.boxes[::-1]),
        *(replace(said.head, **{name: zero}) for name in ("context", "transcript")),  # type: ignore[arg-type]
        replace(said.head, count=6),
        *(replace(said.confirmation, **{name: zero}) for name in ("context", "agreed")),  # type: ignore[arg-type]
        replace(said.reveal, context=zero),
        replace(said.reveal, seeds=said.reveal.seeds[1:]),
        replace(said.reveal, keys=said.reveal.seeds[:1], seeds=said.reveal.seeds[1:]),
    ]
    for message in changed:
        with pytest.raises(IdentityError, match=BAD):
            message.require_signed(said.group.roster)


@pytest.mark.parametrize("how", ["two numbers on", "of another site", "unsigned"])
def test_an_offer_with_a_wrong_consent_to_the_next_sum_is_refused(how: str) -> None:
    group = Consortium(4)
    offers = group.all_offers()
    true = offers[2].following
    wrong = {
        "two numbers on": replace(true, number=true.number + 1).signed(group.signing[BAD]),
        "of another site": replace(offers[1].following, name=BAD),
        "unsigned": replace(true, signature=b""),
    }[how]
    bad = replace(offers[2], following=wrong).signed(group.signing[BAD])
    with pytest.raises(SecureSumError, match=BAD):
        group.sites[ME].agree(PLAN, [*offers[:2], bad, offers[3]])
    with pytest.raises(SecureSumError, match=BAD):
        group.half.add_offer(bad)


# ----------------------------------------------------------------------------------------------------- two views of U1


def test_a_threshold_that_is_right_for_u1_and_wrong_for_r_makes_no_sum() -> None:
    """|R| = 7, |U1| = 5, c = 1, t = 4: 2t > |U1| + c, and 2t <= |R| + c."""
    group = Consortium(7, threshold=5)
    with pytest.raises(SecureSumError, match="unsafe"):
        replace(group.context, threshold=4)
    for threshold in (1, 2, 3):
        with pytest.raises(SecureSumError, match="unsafe"):
            replace(group.context, threshold=threshold)


def test_without_that_check_two_views_show_one_sites_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it is judged against R. The attack, with the check switched off: |R| = 7, one site colludes, t = 4."""
    group = Consortium(7, threshold=5)
    victim, one, two, colluder = names(7)[0], names(7)[1:3], names(7)[3:6], names(7)[6]
    monkeypatch.setattr(messages, "require_threshold", lambda *_: None)
    weak = replace(group.context, threshold=4)
    stolen = ShareKey(Secret(group.keys[colluder].secret.expose()))
    offers = {name: site.offer(weak) for name, site in group.sites.items()}
    held = open_box(weak, offers[victim], colluder, stolen)

    def view(u1: list[str], u2: list[str]) -> list[Reveal]:
        """What the honest sites of one view give; the colluder signs whatever is needed."""
        shown = [offers[name] for name in u1]
        honest = [name for name in u2 if name != colluder]
        uploads = {name: group.sites[name].mask(PLAN, shown, group.words[name]) for name in honest}
        agreed = transcript(weak, PLAN, order_offers(weak, shown))
        lie = Confirmation(weak.digest, colluder, survivors_digest(agreed, sorted(u2))).signed(group.signing[colluder])
        given = [lie, *(group.sites[name].confirm(u2) for name in honest)]
        if victim in u2:
            seen["vector"], seen["agreed"] = uploads[victim][1], agreed
        return [group.sites[name].reveal(given) for name in honest]

    seen: dict[str, Any] = {}
    arrived = view([victim, *one, colluder], [victim, *one, colluder])
    vanished = view([victim, *two, colluder], [*two, colluder])
    seeds = {weak.place(r.name): s.share for r in arrived for s in r.seeds if s.dealer == victim}
    keys = {weak.place(r.name): s.share for r in vanished for s in r.keys if s.dealer == victim}
    place = weak.place(colluder)
    seed = combine(seeds | {place: bytes(held.seed.expose())})
    key = MaskKey(combine(keys | {place: bytes(held.key.expose())}))
    assert key.public == offers[victim].mask_key, "both secrets of one site are out"
    plus, minus = list[Secret](), list[Secret]()
    for peer in (*one, colluder):
        mask = pairwise_mask_key(key, victim, peer, offers[peer].mask_key, seen["agreed"])
        (plus if adds(victim, peer) else minus).append(mask)
    masked = np.frombuffer(seen["vector"].tobytes(), dtype="<u4")
    words = np.empty(masked.size, dtype=np.uint32)
    encrypt(key_stream(self_mask_key(seed, seen["agreed"], victim), 0), masked, words)
    apply_masks(words, minus, plus)
    assert np.array_equal(words, group.words[victim]), "the attack is a real one"


# ---------------------------------------------------------------------------------------------------------- never twice


@pytest.mark.parametrize("offers", [500, pytest.param(10_000, marks=pytest.mark.soak)])
def test_no_key_is_used_with_a_nonce_twice(monkeypatch: pytest.MonkeyPatch, offers: int) -> None:
    """Every AES-256-GCM box and every AES-256-CTR span, over thousands of offers, each made twice under one share key,
    as by a site whose memory was copied; with the masks of every sum that follows.
    """
    boxes, streams = list[tuple[bytes, bytes]](), list[tuple[bytes, int, str]]()
    gcm, stream = dealing.AESGCM, masking.key_stream

    class Sealing:
        def __init__(self, key: memoryview) -> None:
            self._key = bytes(key)

        def encrypt(self, nonce: bytes, data: memoryview, associated: bytes) -> bytes:
            boxes.append((self._key, nonce))
            return gcm(self._key).encrypt(nonce, data, associated)

        def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
            return gcm(self._key).decrypt(nonce, data, associated)

    def noted(key: Secret, span: int) -> object:
        streams.append((bytes(key.expose()), span, masking_site))
        return stream(key, span)

    monkeypatch.setattr(dealing, "AESGCM", Sealing)
    monkeypatch.setattr(masking, "key_stream", noted)
    masking_site, made = "", 0
    while made < offers:
        group = Consortium(3, 2)
        for name in group.sites:
            group.player(name).offer(group.context)  # an offer that is lost, and made again
            made += 2
        group.offer()
        shown = group.half.offers
        for name, site in group.sites.items():
            masking_site = name
            site.mask(PLAN, shown, group.words[name])
    assert len(boxes) == 2 * made and len(set(boxes)) == len(boxes)
    assert len(streams) == len(set(streams)) == made // 2 * 3, "no site uses a stream twice"
    sides = Counter((key, span) for key, span, _ in streams)
    assert set(sides.values()) == {1, 2}, "a pair's stream serves its two ends, which cancel, and nobody else"
    assert list(sides.values()).count(2) == made // 2
    assert not {key for key, _ in boxes} & {key for key, _, _ in streams}
