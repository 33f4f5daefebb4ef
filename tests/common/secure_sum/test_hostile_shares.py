"""Dealers and holders of wrong shares: they are named, and no number comes out that is not the sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from common.errors import SecureSumError
from common.identity.secret import Secret
from common.secure_sum import dealing
from common.secure_sum.messages import Offer, Reveal, RevealedShare
from common.secure_sum.secret_sharing import deal_shares
from tests.support.secure_sum import Consortium, flipped, names

ME, BAD = "site_00", "site_02"


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
