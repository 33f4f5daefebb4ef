"""A site's word about waiting for lost sites is as old as its consent: one that has learnt of a waiter signs anew.

w alone waits. a, p and q learn of it in a sum with it. A sum to which they add under a word of before is opened by
others, without their hearing of it, and so is one without them: the three sums show w.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.cohort import Cohort
from client.data.split import PARTS
from client.round.declaration import require_as_signed
from common.derived import derive
from common.errors import ProtocolOrderError
from common.messages import ConfirmRequest, OfferRequest
from common.plan import Declaration, threshold_of
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.secure_sum.messages import (
    KNOWS_OF_ONE,
    WAITS,
    Confirmation,
    MaskedVector,
    Member,
    Offer,
    Reveal,
    SumContext,
)
from common.study import Study
from tests.support.scripted import PLAIN, Hospitals, Sum, cohort_of, refused
from tests.support.tiny import study_of

RUN, OTHER_RUN = "1" * 16, "2" * 16
OLD, KNOWING, NEW = tuple("apqw"), tuple("apq"), tuple("bcdef")


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of("chart", "panel", **PLAIN)


def nine(folder: Path, study: Study) -> Hospitals:
    cohorts: dict[str, Cohort] = {}
    for place, name in enumerate(sorted(OLD + NEW)):
        cohort = cohort_of(study, name, seed=10 * place, patients=20 + place)
        sides = {f"{part} {i}": part for part in PARTS for i in range(len(getattr(cohort, part)))}
        cohorts[name] = replace(cohort, sides=sides)
    return one_waits(Hospitals(folder, study, names=OLD + NEW, cohorts=cohorts, smallest_part=10, lost_site="show"))


def one_waits(them: Hospitals) -> Hospitals:
    them.lost_site = "wait"
    them.sites["w"] = them.start("w")
    them.lost_site = "show"
    return them


def context_of(them: Hospitals, run: str, number: int, members: Sequence[Member]) -> SumContext:
    return SumContext(
        study=bytes.fromhex(them.study.digest),
        roster=them.roster.digest,
        run=run,
        number=number,
        threshold=threshold_of(them.study, len(members)),
        members=tuple(sorted(members, key=lambda member: member.name)),
        colluding=them.study.secure_sum.colluding,
        bits=word_bits(them.study.secure_sum.bits, len(members)),
    )


def joined(them: Hospitals, run: str, number: int, names: Sequence[str]) -> list[Member]:
    return [Member.from_bytes(them.ask(name, them.invitation(number, run)).member) for name in names]


def offered(them: Hospitals, context: SumContext, weight: float) -> Sum:
    """Scores of the same weights but for one of them, by whichever it is another question."""
    weights = them.weights.copy()
    weights[0] += np.float32(weight)
    offers = {name: them.ask(name, OfferRequest(context.to_bytes())).offer for name in context.names}
    owners = dict.fromkeys(("shared", "chart", "panel"), context.names)
    scores = {"round": 1, "asks": ("validation",), "weights": weights, "owners": owners}
    return Sum(context, offers, them.plan(run=context.run, sites=context.names, **scores), {})


def test_who_learnt_of_one_that_waits_makes_no_offer_under_an_older_consent(tmp_path, study) -> None:
    """The consents to sum 2 rode on the offers of sum 1, and say that nobody waits: b to f would open it alone."""
    them = nine(tmp_path, study)
    first = offered(them, context_of(them, RUN, 1, joined(them, RUN, 1, OLD)), 0)
    ahead = [Offer.from_bytes(first.offers[name]).following for name in KNOWING]
    assert [member.waits for member in ahead] == [0, 0, 0]
    them.opened(first, OLD)
    others = joined(them, RUN, 2, NEW)
    context = context_of(them, RUN, 2, ahead + others)
    for name in KNOWING:
        assert refused(them, name, OfferRequest(context.to_bytes())) == "out_of_order"
    anew = joined(them, RUN, 2, KNOWING)
    assert [member.waits for member in anew] == [KNOWS_OF_ONE] * 3
    second = them.masked(offered(them, context_of(them, RUN, 2, anew + others), 1e-6))
    for name in KNOWING:
        assert refused(them, name, ConfirmRequest(2, second.context.names)) == "answered"
    third = offered(them, context_of(them, OTHER_RUN, 1, joined(them, OTHER_RUN, 1, OLD)), 2e-6)
    assert [member.waits for member in third.context.members] == [KNOWS_OF_ONE] * 3 + [WAITS]
    them.opened(third, OLD)  # the sites of before


def test_a_vector_that_left_before_it_was_known_who_waits_counts_as_a_sum_of_before(tmp_path, study) -> None:
    """What is left: a, p and q add to a sum of nobody who waits, and learn of w before others open it."""
    them = nine(tmp_path, study)
    before = offered(them, context_of(them, RUN, 1, joined(them, RUN, 1, KNOWING + NEW)), 0)
    half = with_vectors(them, before)
    with_w = offered(them, context_of(them, RUN, 2, joined(them, RUN, 2, OLD)), 1e-6)
    four = them.opened(with_w, OLD)["scores/cases"]
    eight = opened_by(them, before, half, NEW)["scores/cases"]
    others = offered(them, context_of(them, OTHER_RUN, 1, joined(them, OTHER_RUN, 1, NEW)), 2e-6)
    five = them.opened(others, NEW)["scores/cases"]
    assert four - (eight - five) == len(them.cohorts["w"].validation)


def with_vectors(them: Hospitals, sum: Sum) -> CoordinatorSum:
    """The coordinator's half, when all have masked."""
    derived = derive(sum.plan, them.study, them.parameters, None)
    half = CoordinatorSum(sum.context, derived.digest, derived.layout.length, them.roster)
    for offer in sum.offers.values():
        half.add_offer(Offer.from_bytes(offer))
    _ = half.offers
    for name in sum.context.names:
        reply = them.ask(name, them.round_request(sum))
        half.add_masked(MaskedVector.from_bytes(reply.head), reply.masked)
    return half


def opened_by(
    them: Hospitals, sum: Sum, half: CoordinatorSum, names: Sequence[str]
) -> Mapping[str, NDArray[np.float64]]:
    """These alone confirm and give shares."""
    for name in names:
        request = ConfirmRequest(sum.context.number, half.survivors)
        sum.confirmations[name] = them.ask(name, request).confirmation
        half.add_confirmation(Confirmation.from_bytes(sum.confirmations[name]))
    _ = half.confirmations
    for name in names:
        half.add_reveal(Reveal.from_bytes(them.ask(name, them.reveal_request(sum)).reveal))
    derived = derive(sum.plan, them.study, them.parameters, None)
    values = FixedPoint(derived.layout, bits=sum.context.bits, sites=len(sum.context.members)).values()
    half.open_into(values)
    return derived.layout.part(values.vector)


def test_who_learns_of_one_that_waits_between_offer_and_round_is_out_until_it_joins_anew(tmp_path, study) -> None:
    """In a sum of another study that the same sites are in, beside it on the same disks."""
    them = nine(tmp_path, study)
    sum = offered(them, context_of(them, RUN, 1, joined(them, RUN, 1, KNOWING + NEW)), 0)
    beside = one_waits(
        Hospitals(tmp_path, replace(study, rounds=study.rounds + 1), names=OLD + NEW, cohorts=them.cohorts,
                  smallest_part=10, lost_site="show")
    )  # fmt: skip
    beside.opened(offered(beside, context_of(beside, OTHER_RUN, 1, joined(beside, OTHER_RUN, 1, OLD)), 0), OLD)
    for name in KNOWING:
        assert refused(them, name, them.round_request(sum)) == "out_of_order"
    for name in NEW:
        them.ask(name, them.round_request(sum))
    again = offered(them, context_of(them, RUN, 2, joined(them, RUN, 2, KNOWING + NEW)), 0)
    assert [member.waits for member in again.context.members if member.name in KNOWING] == [KNOWS_OF_ONE] * 3
    them.masked(again)
    assert refused(them, "a", ConfirmRequest(2, again.context.names)) == "answered"


@pytest.mark.parametrize("signed", [0, KNOWS_OF_ONE, WAITS])
@pytest.mark.parametrize("now", [0, KNOWS_OF_ONE, WAITS])
def test_a_site_that_waits_more_than_it_signed_signs_anew(signed, now) -> None:
    """Also one that knew of a waiter, and waits by its own policy now."""
    order = [0, KNOWS_OF_ONE, WAITS]
    stronger = order.index(now) > order.index(signed)
    with pytest.raises(ProtocolOrderError) if stronger else nullcontext():
        require_as_signed(*(Declaration(("chart",), ("train",), waits) for waits in (signed, now)))
