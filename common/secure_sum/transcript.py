"""T and (T, U2): what two sites must have seen alike before one's masks cancel the other's, or one confirms the other.

T goes into the derivation of every mask. Whoever shows one site another plan, other weights, another R or another U1
gets a vector whose masks cancel nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.errors import SecureSumError, TooFewSitesError
from common.identity.encoding import DIGEST_BYTES, digest
from common.secure_sum.messages import Offer, SumContext


def order_offers(context: SumContext, offers: Sequence[Offer]) -> dict[str, Offer]:
    """U1 by name, in the order of names, of offers that passed `require_offer`. Refuses repeated sites and keys, and
    fewer than t.
    """
    ordered = {offer.name: offer for offer in sorted(offers, key=lambda offer: offer.name)}
    if len(ordered) != len(offers) or len({offer.mask_key for offer in offers}) != len(offers):
        raise SecureSumError("A site offered twice, or two sites offered the same key.")
    if len(ordered) < context.threshold:
        raise TooFewSitesError(f"{len(ordered)} sites offered; this sum needs {context.threshold}.")
    return ordered


def transcript(context: SumContext, plan_digest: bytes, ordered: Mapping[str, Offer]) -> bytes:
    """T = digest of the context (study, roster, run, number, t, c, width, R), the plan, every offer of U1, whole."""
    if len(plan_digest) != DIGEST_BYTES:
        raise SecureSumError(f"A plan's digest has {DIGEST_BYTES} bytes.")
    return digest("transcript", context.digest, plan_digest, *(offer.to_bytes() for offer in ordered.values()))


def survivors_digest(agreed: bytes, survivors: Sequence[str]) -> bytes:
    """The digest of (T, U2), `survivors` in the order of names: what a site confirms."""
    return digest("survivors", agreed, *(name.encode() for name in survivors))
