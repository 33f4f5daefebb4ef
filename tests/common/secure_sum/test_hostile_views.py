"""A coordinator that shows its sites different plans, offers or survivors: nobody is unmasked, nothing opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from common.errors import IdentityError, ProtocolOrderError, SecureSumError, TooFewSitesError
from tests.support.secure_sum import PLAN, Consortium, names

ME = "site_00"
OTHER_PLAN = bytes(32)


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


WRONG_SURVIVORS: dict[str, tuple[Sequence[str], type[SecureSumError]]] = {
    "too few": (names(3), TooFewSitesError),
    "none": ([], SecureSumError),
    "enough, but without this site": (names(5)[1:], SecureSumError),
    "a stranger": ([*names(4), "stranger"], SecureSumError),
    "a site that did not offer": ([*names(4), "site_05"], SecureSumError),
    "one site twice": ([*names(4), "site_01"], SecureSumError),
}


@pytest.mark.parametrize("what", WRONG_SURVIVORS)
def test_wrong_survivors_are_not_confirmed(what: str) -> None:
    survivors, error = WRONG_SURVIVORS[what]
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
