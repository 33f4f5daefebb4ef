"""A site against a coordinator that lies: a closed code on the wire, an audit line, no secret, nothing charged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from client.round.limits import LARGEST_WEIGHT
from common.identity.roster import Roster, SigningKey
from common.messages import ConfirmRequest, OfferRequest, Request, RevealRequest, RoundRequest
from common.secure_sum.messages import SumContext
from common.study import Study
from tests.support.scripted import ME, NAMES, PLAIN, PRIVATE, Hospitals, Sum, cohort_of, plain_study, refused
from tests.support.tiny import study_of


@pytest.fixture(scope="module")
def study() -> Study:
    return plain_study()


def other_roster(them: Hospitals) -> Roster:
    return Roster("test", {**them.roster.sites, "spy": SigningKey.generate().public})


# Before any offer, and at the offer: what the coordinator says, and the code that comes back.
AT_THE_OFFER: dict[str, tuple[Callable[[Hospitals], Request], str]] = {
    "another study": (lambda h: replace(h.invitation(1), study="ab" * 32), "run"),
    "another roster": (lambda h: replace(h.invitation(1), roster=other_roster(h).digest.hex()), "identity"),
    "a run that is no run": (lambda h: replace(h.invitation(1), run="patient Smith"), "audit"),
    "another run than the one joined": (lambda h: _offer(_of_run(h, "f" * 16)), "secure_sum"),
    "a width that is not the study's": (lambda h: _offer(h.context(1), bits=24), "secure_sum"),
    "a threshold that is not the study's": (lambda h: _offer(h.context(1), threshold=4), "secure_sum"),
    "more that may collude": (lambda h: _offer(h.context(1), colluding=2, threshold=4), "secure_sum"),
    "a consent that the site replaced": (lambda h: _offer(_stale(h)), "secure_sum"),
    "rubbish": (lambda h: OfferRequest(b"rubbish"), "secure_sum"),
}


def _offer(context: SumContext, **changes: int) -> OfferRequest:
    return OfferRequest(replace(context, **changes).to_bytes())  # type: ignore[arg-type]


def _of_run(them: Hospitals, run: str) -> SumContext:
    """Signed by all, for another run."""
    context = them.context(1)
    signed = [replace(member, run=run).signed(them.sites[member.name].identity.key) for member in context.members]
    return replace(context, run=run, members=tuple(signed))


def _stale(them: Hospitals) -> SumContext:
    context = them.context(1)
    them.ask(ME, them.invitation(2))
    them.ask(ME, them.invitation(1))
    return context


@pytest.mark.parametrize("what", AT_THE_OFFER)
def test_what_is_refused_before_an_offer(tmp_path, study, what, caplog) -> None:
    them = Hospitals(tmp_path, study)
    request, code = AT_THE_OFFER[what]
    with caplog.at_level(logging.WARNING, "wardround.site"):
        assert refused(them, ME, request(them)) == code
    assert "Smith" not in caplog.text
    them.played(3)  # the honest sum goes on


def test_the_sites_own_policy_sets_the_least_threshold(tmp_path, study) -> None:
    """Four sites have t = 3; this hospital asks for four."""
    them = Hospitals(tmp_path, study, minimum_sites=4)
    assert refused(them, ME, _offer(them.context(1))) == "secure_sum"


# At the round: before any patient is touched.
AT_THE_ROUND: dict[str, tuple[Callable[[Hospitals, Sum], Request], str]] = {
    "no offers": (lambda h, s: RoundRequest(1, s.plan, ()), "secure_sum"),
    "another number": (lambda h, s: RoundRequest(2, s.plan, tuple(s.offers.values())), "out_of_order"),
    "other sites than the sum's": (lambda h, s: h.round_request(s, sites=NAMES[:3]), "secure_sum"),
    "an owner that declared nothing": (
        lambda h, s: h.round_request(s, owners={**s.plan.owners, "letter": NAMES}),
        "secure_sum",
    ),
    "a stranger as owner": (
        lambda h, s: h.round_request(s, owners={**s.plan.owners, "chart": (*NAMES, "spy")}),
        "secure_sum",
    ),
    "an owner left out": (lambda h, s: h.round_request(s, owners={**s.plan.owners, "chart": NAMES[1:]}), "secure_sum"),
    "no owner": (lambda h, s: h.round_request(s, owners={**s.plan.owners, "chart": ()}), "secure_sum"),
    "another run": (lambda h, s: h.round_request(s, run="f" * 16), "run"),
    "another study": (lambda h, s: h.round_request(s, study="ab" * 32), "run"),
    "more training than was approved": (lambda h, s: h.round_request(s, round=h.study.rounds + 1), "run"),
    "training before the first round": (lambda h, s: h.round_request(s, round=0), "run"),
    "weights of another length": (lambda h, s: h.round_request(s, weights=s.plan.weights[1:]), "run"),
    "weights that are no numbers": (lambda h, s: h.round_request(s, weights=s.plan.weights * np.float32("nan")), "run"),
    "too few offers": (lambda h, s: RoundRequest(1, s.plan, tuple(list(s.offers.values())[:2])), "too_few_sites"),
    "rubbish as an offer": (lambda h, s: RoundRequest(1, s.plan, (b"rubbish", *s.offers.values())), "secure_sum"),
}


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
@pytest.mark.parametrize("what", AT_THE_ROUND)
def test_what_is_refused_before_the_work(tmp_path, what, mode) -> None:
    them = Hospitals(tmp_path, study_of("chart", "panel", **mode))
    sum = them.offered(1)
    request, code = AT_THE_ROUND[what]
    assert refused(them, ME, request(them, sum)) == code


def test_two_sets_of_survivors_for_one_number_are_refused(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.confirmed(them.masked(them.offered(1)), NAMES)
    assert refused(them, ME, ConfirmRequest(1, NAMES[:3])) == "out_of_order"
    them.revealed(sum)


def test_shares_are_given_for_confirmations_of_enough_sites_only(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.confirmed(them.masked(them.offered(1)))
    mine = sum.confirmations[ME]
    other = sum.confirmations["north"]
    for confirmations, code in (
        ((), "too_few_sites"),
        ((mine,), "too_few_sites"),
        ((mine, other), "too_few_sites"),
        ((mine, mine, mine), "secure_sum"),
    ):
        assert refused(them, ME, RevealRequest(1, confirmations)) == code
    them.revealed(sum)


@pytest.mark.parametrize(("mode", "size"), [(PLAIN, 1e30), (PLAIN, 3e38), (PRIVATE, LARGEST_WEIGHT)])
def test_weights_that_make_nan_of_patients_are_answered_as_any_others(tmp_path, mode, size) -> None:
    """Finite weights under which networks overflow: training clips and zeroes, scores count; no refusal tells of it."""
    study = study_of("chart", "panel", **mode)
    answers = []
    for place, patients in enumerate((12, 1)):
        cohorts = {name: cohort_of(study, name, seed=7, patients=patients) for name in NAMES}
        them = Hospitals(tmp_path / str(place), study, cohorts=cohorts)
        signs = np.where(np.arange(them.weights.size) % 2, 1, -1).astype(np.float32)
        sum = them.offered(1, weights=signs * np.float32(size), asks=("update", "validation"))
        replies = [type(them.answer(name, them.round_request(sum))).__name__ for name in NAMES]
        them.revealed(them.confirmed(sum))
        answers.append(replies)
    assert answers == [["RoundReply"] * 4] * 2
