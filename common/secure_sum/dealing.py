"""A site's two secrets, shared among R: what it puts into its offer, and what a holder gets out of another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.errors import ProtocolOrderError, SecureSumError
from common.identity.encoding import Bytes, digest, encode
from common.identity.roster import Roster
from common.identity.secret import Secret
from common.secure_sum.key_agreement import MaskKey, ShareKey
from common.secure_sum.messages import SHARE_BYTES, Box, Member, Offer, SumContext
from common.secure_sum.secret_sharing import deal_shares

Kind = Literal["mask key", "seed"]

# A box key is derived from the dealer's `pk`, fresh in every offer, for one dealer and one holder: it seals one box, so
# its nonce may be constant.
_NONCE = bytes(12)


@dataclass(frozen=True, eq=False)
class HeldShares:
    """What one holder has of one dealer."""

    key: Secret
    seed: Secret

    def wipe(self) -> None:
        self.key.wipe()
        self.seed.wipe()


def deal(
    context: SumContext, following: Member, share_key: ShareKey, mask_key: MaskKey, seed: Secret
) -> tuple[Offer, HeldShares]:
    """The offer, unsigned, and the dealer's own shares, which never leave it sealed or open before the last leg.

    `following` is the dealer's consent to the next sum.
    """
    dealer = following.name
    count = len(context.members)
    keys = deal_shares(mask_key.secret, context.threshold, count)
    seeds = deal_shares(seed, context.threshold, count)
    held = [HeldShares(key, share) for key, share in zip(keys, seeds, strict=True)]
    boxes = _seal_all(context, dealer, share_key, mask_key.public, held)
    hidden = seed_digest(context, dealer, seed.expose())
    offer = Offer(context.digest, dealer, mask_key.public, following, hidden, boxes)
    return offer, held[context.place(dealer) - 1]


def _seal_all(
    context: SumContext, dealer: str, share_key: ShareKey, public: bytes, held: Sequence[HeldShares]
) -> tuple[Box, ...]:
    boxes = []
    for member, shares in zip(context.members, held, strict=True):
        sealed = b""
        if member.name != dealer:
            info = _box_info(context, dealer, member.name, public)
            key = share_key.agree(member.name, member.share_key, "box", *info)
            content = Secret.join(shares.key, shares.seed)
            sealed = AESGCM(key.expose()).encrypt(_NONCE, content.expose(), encode(*info))
        boxes.append(
            Box(
                sealed,
                share_digest(context, dealer, member.name, "mask key", shares.key.expose()),
                share_digest(context, dealer, member.name, "seed", shares.seed.expose()),
            )
        )
    return tuple(boxes)


def open_box(context: SumContext, offer: Offer, holder: str, share_key: ShareKey) -> HeldShares:
    """The shares in an offer that are meant for `holder`, or SecureSumError, naming the dealer."""
    place = context.place(holder)
    member, box = context.members[context.place(offer.name) - 1], offer.boxes[place - 1]
    info = _box_info(context, offer.name, holder, offer.mask_key)
    key = share_key.agree(offer.name, member.share_key, "box", *info)
    try:
        content = Secret(AESGCM(key.expose()).decrypt(_NONCE, box.sealed, encode(*info)))
    except InvalidTag:
        raise SecureSumError(f"Site {offer.name!r}: the shares that it sealed for {holder!r} do not open.") from None
    held = HeldShares(Secret(content.expose()[:SHARE_BYTES]), Secret(content.expose()[SHARE_BYTES:]))
    if not _fits(context, offer, holder, box, held):
        raise SecureSumError(
            f"Site {offer.name!r}: the shares that it sealed for {holder!r} are not those it digested."
        )
    return held


def _fits(context: SumContext, offer: Offer, holder: str, box: Box, held: HeldShares) -> bool:
    key = share_digest(context, offer.name, holder, "mask key", held.key.expose())
    seed = share_digest(context, offer.name, holder, "seed", held.seed.expose())
    return key == box.key_digest and seed == box.seed_digest


def require_offer(context: SumContext, offer: Offer, roster: Roster) -> None:
    """ProtocolOrderError for an offer of another sum or of a site outside R; IdentityError when its site did not sign
    it, or its consent to the next sum; SecureSumError for boxes not as R is.
    """
    if offer.context != context.digest:
        raise ProtocolOrderError(f"Site {offer.name!r}: its offer is for another sum.")
    context.place(offer.name)
    offer.require_signed(roster)
    _require_following(context, offer, roster)
    filled = [name for name, box in zip(context.names, offer.boxes, strict=False) if box.sealed]
    others = [name for name in context.names if name != offer.name]
    if len(offer.boxes) != len(context.members) or filled != others:
        raise SecureSumError(f"Site {offer.name!r}: its offer does not have a box for every other site.")


def _require_following(context: SumContext, offer: Offer, roster: Roster) -> None:
    """The consent that comes with an offer is to the very next sum of the same study, roster and run."""
    given = offer.following
    if (given.study, given.roster, given.run) != (context.study, context.roster, context.run) or (
        given.number != context.number + 1
    ):
        raise ProtocolOrderError(f"Site {offer.name!r}: its offer consents to another sum than the next.")
    given.require_signed(roster)


def share_digest(context: SumContext, dealer: str, holder: str, kind: Kind, share: Bytes) -> bytes:
    """Hides the share (a uniform field element) and binds it to its sum, dealer, holder and secret."""
    return digest("share", context.digest, dealer.encode(), holder.encode(), kind.encode(), share)


def seed_digest(context: SumContext, dealer: str, seed: Bytes) -> bytes:
    """H(b)."""
    return digest("seed", context.digest, dealer.encode(), seed)


def _box_info(context: SumContext, dealer: str, holder: str, public: bytes) -> tuple[bytes, ...]:
    return context.digest, dealer.encode(), holder.encode(), public
