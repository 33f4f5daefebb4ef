"""What the coordinator takes: each message once, in its leg, from its site; an error leaves the sum as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from common.errors import IdentityError, ProtocolOrderError, SecureSumError, TooFewSitesError
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.messages import MaskedVector
from common.secure_sum.packing import pack
from tests.support.secure_sum import LEGS, PLAN, Consortium, names

ME, BAD = "site_00", "site_02"


ADD: dict[str, Callable[..., None]] = {
    "offer": CoordinatorSum.add_offer,
    "mask": CoordinatorSum.add_masked,
    "confirm": CoordinatorSum.add_confirmation,
    "reveal": CoordinatorSum.add_reveal,
}
LOOK: dict[str, Callable[[CoordinatorSum], object]] = {  # at all that the leg brought, which ends it
    "offer": lambda half: half.offers,
    "mask": lambda half: half.survivors,
    "confirm": lambda half: half.confirmations,
    "reveal": CoordinatorSum.open,
}


def messages(group: Consortium) -> dict[str, dict[str, tuple[object, ...]]]:
    """leg -> site -> what it says in an honest sum."""
    half, said = group.half, dict[str, dict[str, tuple[object, ...]]]()
    said["offer"] = {name: (site.offer(group.context),) for name, site in group.sites.items()}
    group.offer()
    said["mask"] = {name: site.mask(PLAN, half.offers, group.words[name]) for name, site in group.sites.items()}
    group.mask()
    said["confirm"] = {name: (site.confirm(half.survivors),) for name, site in group.sites.items()}
    group.confirm()
    said["reveal"] = {name: (site.reveal(half.confirmations),) for name, site in group.sites.items()}
    return said


@pytest.mark.parametrize("done", range(len(LEGS) + 1), ids=[*LEGS, "the end"])
def test_each_message_is_taken_once_and_in_its_leg(done: int) -> None:
    group = Consortium(4)
    said = messages(group)
    half = CoordinatorSum(group.context, PLAN, 5, group.roster)
    for leg in LEGS[:done]:
        for words in said[leg].values():
            ADD[leg](half, *words)
        LOOK[leg](half)
    for leg in (*LEGS[:done], *LEGS[done + 1 :]):
        with pytest.raises(ProtocolOrderError, match="cannot add"):
            ADD[leg](half, *said[leg][ME])
    for leg in LEGS[done + 1 :]:
        with pytest.raises(ProtocolOrderError, match="cannot"):
            LOOK[leg](half)
    for leg in LEGS[done : done + 1]:
        ADD[leg](half, *said[leg][ME])
        with pytest.raises(ProtocolOrderError, match="already"):
            ADD[leg](half, *said[leg][ME])


def test_a_sum_is_opened_once() -> None:
    half = Consortium(4).until("open").half
    half.open()
    with pytest.raises(ProtocolOrderError, match="cannot open"):
        half.open()


def test_a_late_vector_is_refused() -> None:
    group = Consortium(4, leave={"site_03": "mask"}).until("confirm")
    late = group.sites["site_03"].mask(PLAN, group.half.offers, group.words["site_03"])
    assert group.half.survivors == tuple(names(3))
    with pytest.raises(ProtocolOrderError, match="cannot add a masked vector"):
        group.half.add_masked(*late)


def test_a_wrong_vector_leaves_the_sum_as_it_was() -> None:
    group, other = Consortium(4, 6, bits=20).until("mask"), Consortium(4, 6, bits=20).until("mask")
    good, packed = group.sites[ME].mask(PLAN, group.half.offers, group.words[ME])
    foreign, _ = other.sites[ME].mask(PLAN, other.half.offers, group.words[ME])
    key = group.signing[ME]
    five = np.frombuffer(pack(np.zeros(5, dtype=np.uint32), 20), dtype=np.uint8)
    wide = np.frombuffer(pack(np.zeros(6, dtype=np.uint32), 24), dtype=np.uint8)
    wrong: list[tuple[MaskedVector, np.ndarray, type[SecureSumError], str]] = [
        (foreign, packed, ProtocolOrderError, "another sum"),  # of another study
        (replace(good, context=bytes(32)).signed(key), packed, ProtocolOrderError, "another sum"),
        (replace(good, transcript=bytes(32)).signed(key), packed, SecureSumError, "another plan"),
        (replace(good, name="stranger").signed(key), packed, ProtocolOrderError, "stranger"),
        (replace(good, count=5).signed(key), five, SecureSumError, "5 words"),
        (replace(good, count=2**40).signed(key), packed, SecureSumError, f"{2**40} words"),
        (replace(good, count=5), five, IdentityError, ME),
        (replace(good, signature=b""), packed, IdentityError, ME),
        (good, packed[:-1], SecureSumError, "14 bytes"),
        (good, np.append(packed, np.uint8(0)), SecureSumError, "16 bytes"),
        (good, wide, SecureSumError, "18 bytes"),
    ]
    for head, words, error, text in wrong:
        with pytest.raises(error, match=text):
            group.half.add_masked(head, words)
    assert np.array_equal(group.open("mask"), group.plain())


def test_a_vector_under_another_sites_name_is_refused_and_the_sum_stays_right() -> None:
    group = Consortium(4).until("mask")
    sent = {name: group.sites[name].mask(PLAN, group.half.offers, group.words[name]) for name in group.sites}
    for name, claimed in ((ME, "site_01"), ("site_01", ME), (BAD, "site_03")):
        head, packed = sent[name]
        for forged in (replace(head, name=claimed), replace(head, name=claimed).signed(group.signing[name])):
            with pytest.raises(IdentityError, match=claimed):
                group.half.add_masked(forged, packed)
    assert np.array_equal(group.open("mask"), group.plain())


def test_an_empty_coordinator_says_how_many_are_needed() -> None:
    with pytest.raises(TooFewSitesError, match=r"0 .*3"):
        _ = Consortium(4).half.offers
