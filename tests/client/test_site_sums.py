"""A site against a coordinator that lies: a closed code on the wire, an audit line, no secret, nothing charged."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.audit import Refused, Sent
from common.errors import PUBLIC_CODES
from common.identity import Roster, SigningKey
from common.messages import (
    ConfirmRequest,
    JoinRequest,
    OfferRequest,
    Refusal,
    Request,
    RevealRequest,
    RoundReply,
    RoundRequest,
)
from common.secure_sum.messages import SumContext
from common.study import Study
from tests.support.scripted import NAMES, RUN, Hospitals, Sum, cohort_of, copied
from tests.support.tiny import study_of

ME = "east"
PLAIN = {"privacy": {"mode": "none"}}
PRIVATE = {"privacy": {"mode": "local", "epsilon": 8.0, "sample_rate": 0.25, "expected_batch_size": 4.0}}


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of("chart", "panel", **PLAIN)


def other_roster(them: Hospitals) -> Roster:
    return Roster("test", {**them.roster.sites, "spy": SigningKey.generate().public})


# Before any offer, and at the offer: what the coordinator says, and the code that comes back.
AT_THE_OFFER: dict[str, tuple[Callable[[Hospitals], Request], str]] = {
    "another study": (lambda h: replace(h.invitation(1), study="ab" * 32), "run"),
    "another roster": (lambda h: replace(h.invitation(1), roster=other_roster(h).digest.hex()), "identity"),
    "a run that is no run": (lambda h: replace(h.invitation(1), run="patient Smith"), "audit"),
    "another run than the one joined": (
        lambda h: OfferRequest(_of_run(h.context(1), "f" * 16, h).to_bytes()),
        "secure_sum",
    ),
    "a width that is not the study's": (
        lambda h: OfferRequest(replace(h.context(1), bits=24).to_bytes()),
        "secure_sum",
    ),
    "a threshold that is not the study's": (
        lambda h: OfferRequest(replace(h.context(1), threshold=4).to_bytes()),
        "secure_sum",
    ),
    "more that may collude": (
        lambda h: OfferRequest(replace(h.context(1), colluding=2, threshold=4).to_bytes()),
        "secure_sum",
    ),
    "a consent that the site replaced": (lambda h: OfferRequest(_stale(h).to_bytes()), "secure_sum"),
    "rubbish": (lambda h: OfferRequest(b"rubbish"), "secure_sum"),
}


def _of_run(context: SumContext, run: str, them: Hospitals) -> SumContext:
    """Signed by all, for another run."""
    signed = [replace(member, run=run).signed(them.sites[member.name].identity.key) for member in context.members]
    return replace(context, run=run, members=tuple(signed))


def _stale(them: Hospitals) -> SumContext:
    context = them.context(1)
    them.ask(ME, them.invitation(2))
    them.ask(ME, them.invitation(1))
    return context


def refused(them: Hospitals, name: str, request: Request) -> str:
    """Ask for what must be refused: the code. It is on record, and the ledger is as it was."""
    ledger = them.folder / name / "ledger.jsonl"
    before = ledger.read_bytes() if ledger.exists() else b""
    reply = them.answer(name, request)
    assert isinstance(reply, Refusal), f"not refused: {type(reply).__name__}"
    assert reply.code in PUBLIC_CODES
    *_, last = them.sites[name].audit.events()
    assert isinstance(last.event, Refused) and last.event.code == reply.code
    assert last.event.request == type(request).__name__
    assert them.sites[name].audit.verify().broken is None
    assert (ledger.read_bytes() if ledger.exists() else b"") == before
    return reply.code


@pytest.mark.parametrize("what", AT_THE_OFFER)
def test_what_is_refused_before_an_offer(tmp_path, study, what, caplog) -> None:
    them = Hospitals(tmp_path, study)
    request, code = AT_THE_OFFER[what]
    with caplog.at_level(logging.WARNING, "wardround.site"):
        assert refused(them, ME, request(them)) == code
    assert "Smith" not in caplog.text
    them.played(3)  # the honest sum goes on


@pytest.mark.parametrize("what", AT_THE_OFFER)
def test_the_code_does_not_depend_on_the_patients(tmp_path, study, what) -> None:
    codes = set()
    for place, seed in enumerate((1, 2)):
        cohorts = {ME: cohort_of(study, ME, seed=seed, patients=6 * seed)}
        them = Hospitals(tmp_path / str(place), study, cohorts=cohorts)
        codes.add(refused(them, ME, AT_THE_OFFER[what][0](them)))
    assert len(codes) == 1


def test_the_sites_own_policy_sets_the_least_threshold(tmp_path, study) -> None:
    """Four sites have t = 3; this hospital asks for four."""
    them = Hospitals(tmp_path, study, minimum_sites=4)
    assert refused(them, ME, OfferRequest(them.context(1).to_bytes())) == "secure_sum"


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
    "a group of one owner": (
        lambda h, s: h.round_request(s, owners={**s.plan.owners, "chart": (ME,)}),
        "too_few_sites",
    ),
    "two owners": (lambda h, s: h.round_request(s, owners={**s.plan.owners, "chart": NAMES[:2]}), "too_few_sites"),
    "too few of U1 own a group": (
        lambda h, s: RoundRequest(
            1,
            replace(s.plan, owners={**s.plan.owners, "chart": NAMES[:3]}),
            tuple(list(s.offers.values())[:2] + list(s.offers.values())[3:]),
        ),
        "too_few_sites",
    ),
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


def test_a_group_that_lost_its_owners_is_not_confirmed(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.offered(1, owners={"shared": NAMES, "chart": NAMES[1:], "panel": NAMES})
    them.masked(sum)
    for name in (ME, "north"):  # whoever it is: each site checks every group
        assert refused(them, name, ConfirmRequest(1, NAMES[:3])) == "too_few_sites"
    them.confirmed(sum)


def test_the_same_request_gets_the_same_bytes_and_no_second_training(tmp_path) -> None:
    them = Hospitals(tmp_path, study_of("chart", "panel", **PRIVATE))
    sum = them.offered(1)
    offer = them.ask(ME, OfferRequest(sum.context.to_bytes())).offer
    assert offer == sum.offers[ME]
    first = them.ask(ME, them.round_request(sum))
    ledger = (tmp_path / ME / "ledger.jsonl").read_bytes()
    again = them.ask(ME, them.round_request(sum))
    assert (
        isinstance(first, RoundReply) and again.masked.tobytes() == first.masked.tobytes() and again.head == first.head
    )
    for other in (them.round_request(sum, weights=sum.plan.weights + np.float32(1)), them.round_request(sum, round=2)):
        assert refused(them, ME, other) == "out_of_order"
    assert (tmp_path / ME / "ledger.jsonl").read_bytes() == ledger
    them.confirmed(them.masked(sum))
    assert them.ask(ME, ConfirmRequest(1, NAMES)).confirmation == sum.confirmations[ME]
    given = them.ask(ME, them.reveal_request(sum)).reveal
    assert them.ask(ME, them.reveal_request(sum)).reveal == given, "also when the sum is over"
    assert refused(them, ME, them.reveal_request(sum, b"other")) == "out_of_order"


def test_two_sets_of_survivors_for_one_number_are_refused(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.confirmed(them.masked(them.offered(1)), NAMES)
    assert refused(them, ME, ConfirmRequest(1, NAMES[:3])) == "out_of_order"
    them.revealed(sum)


def test_shares_are_given_for_confirmations_of_enough_sites_only(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.confirmed(them.masked(them.offered(1)))
    mine = sum.confirmations[ME]
    few: list[tuple[bytes, ...]] = [(), (mine,), (mine, mine, mine), tuple(list(sum.confirmations.values())[:2])]
    for confirmations in few:
        assert refused(them, ME, RevealRequest(1, confirmations)) in ("too_few_sites", "secure_sum")
    them.revealed(sum)


# ---------------------------------------------------------------------------------------------------- answered before


def test_a_second_attempt_over_other_survivors_is_refused(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    them.played(1, NAMES[:3])
    sum = them.masked(them.offered(2, attempt=2))
    assert refused(them, ME, ConfirmRequest(2, NAMES)) == "answered"
    assert refused(them, "north", ConfirmRequest(2, ("north", "south", "west"))) == "answered"
    them.revealed(them.confirmed(sum, NAMES[:3]))  # the same sites may repeat it


@pytest.mark.parametrize(
    "asked",
    [
        {"statistics": True, "train": False, "round": 0},
        {"evaluate": "validation", "train": False, "round": 2},
        {"round": 3},
    ],
    ids=["statistics", "scores", "update"],
)
def test_the_same_question_in_another_run_is_answered_over_the_same_sites(tmp_path, study, asked) -> None:
    them = Hospitals(tmp_path, study)
    them.played(1, NAMES[:3], **asked)
    other = "f" * 16
    them.sites = {name: them.start(name) for name in NAMES}  # and after a restart
    sum = them.masked(them.offered(1, run=other, **asked))
    assert refused(them, ME, ConfirmRequest(1, NAMES)) == "answered"
    them.revealed(them.confirmed(sum, NAMES[:3]))
    them.played(
        2,
        NAMES,
        run=other,
        **(asked | {"weights": them.weights + np.float32(0.5), "statistics": False, "train": True, "round": 1}),
    )


def test_a_private_site_answers_again_and_pays_again(tmp_path) -> None:
    study = study_of("chart", "panel", **PRIVATE)
    them = Hospitals(tmp_path, study)
    them.played(1, NAMES[:3])
    before = (tmp_path / ME / "ledger.jsonl").stat().st_size
    them.played(2, NAMES, attempt=2)
    assert (tmp_path / ME / "ledger.jsonl").stat().st_size > before


# ------------------------------------------------------------------------------------------- restarts, copies, an end


def test_a_number_is_served_once_also_after_a_restart(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.masked(them.offered(5))
    before = them.ask(ME, them.round_request(sum))
    them.sites[ME] = them.start(ME)
    again = them.ask(ME, them.round_request(sum))  # from the disk: its memory is lost
    assert again.head == before.head and np.array_equal(again.masked, before.masked)
    assert refused(them, ME, them.round_request(sum, weights=them.weights + np.float32(1))) == "run"
    for number in (5, 4):
        them.ask(ME, them.invitation(number))
        assert refused(them, ME, OfferRequest(them.context(number).to_bytes())) == "out_of_order"
    them.played(6, round=2)


def test_a_copied_site_uploads_once(tmp_path, study) -> None:
    """One state folder, two processes with the same secrets: whoever comes second is refused."""
    them = Hospitals(tmp_path, study)
    sum = them.offered(1)
    original, twin = them.sites[ME], copied(them.sites[ME], them.start(ME))
    sent = them.ask(ME, them.round_request(sum))
    them.sites[ME] = twin
    assert refused(them, ME, them.round_request(sum, weights=them.weights + np.float32(1))) == "out_of_order"
    assert np.array_equal(them.ask(ME, them.round_request(sum)).masked, sent.masked)  # the one vector, not another
    shutil.rmtree(twin.site.state / "replies")
    assert refused(them, ME, them.round_request(sum)) == "out_of_order"
    them.sites[ME] = original
    them.revealed(them.confirmed(them.masked(sum)))


def test_secrets_and_stored_replies_expire(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study, lifetime=0.5)
    sum = them.masked(them.offered(1))
    time.sleep(0.7)
    assert them.sites[ME].sums._sums[1].sum.phase == "forgotten"
    assert refused(them, ME, them.round_request(sum)) == "out_of_order"
    assert refused(them, ME, ConfirmRequest(1, NAMES)) == "out_of_order"


def test_a_reveal_with_rubbish_as_the_next_sum_still_opens_this_one(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.confirmed(them.masked(them.offered(1)))
    reply = them.ask(ME, them.reveal_request(sum, b"rubbish"))
    assert reply.reveal and not reply.offer and reply.refused == "secure_sum"
    *_, refusal, sent = them.sites[ME].audit.events()
    assert refusal.event == Refused("OfferRequest", "secure_sum") and isinstance(sent.event, Sent)


def test_offers_ride_on_the_last_reply(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    sum = them.confirmed(them.masked(them.offered(1)))
    following = them.context(2)
    offers = {name: them.ask(name, them.reveal_request(sum, following.to_bytes())).offer for name in NAMES}
    next_sum = Sum(following, offers, them.plan(round=2), {})
    them.revealed(them.confirmed(them.masked(next_sum)))


# --------------------------------------------------------------------------------------------------- hostile weights


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
@pytest.mark.parametrize("size", [1e30, 3e38])
def test_weights_that_make_nan_of_patients_are_answered_as_any_others(tmp_path, mode, size) -> None:
    """Finite weights under which networks overflow: training clips and zeroes, scores count; no refusal tells of it."""
    study = study_of("chart", "panel", **mode)
    answers = []
    for place, patients in enumerate((12, 1)):
        cohorts = {name: cohort_of(study, name, seed=7, patients=patients) for name in NAMES}
        them = Hospitals(tmp_path / str(place), study, cohorts=cohorts)
        weights = np.full_like(them.weights, size) * np.where(np.arange(them.weights.size) % 2, 1, -1).astype(
            np.float32
        )
        sum = them.offered(1, weights=weights, evaluate="validation")
        replies = [type(them.answer(name, them.round_request(sum))).__name__ for name in NAMES]
        them.revealed(them.confirmed(sum))
        answers.append(replies)
    assert answers == [["RoundReply"] * 4] * 2


def test_what_a_site_did_is_on_record(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    them.played(1)
    kinds = [type(record.event).__name__ for record in them.sites[ME].audit.events()]
    assert kinds[::2] == ["Joined", "Offered", "Masked", "Confirmed", "Revealed"]
    assert set(kinds[1::2]) == {"Sent"} and len(kinds) == 10
    assert them.sites[ME].audit.verify().broken is None
    for name in ("audit.jsonl", "secure_sum.json"):
        assert Path(tmp_path / ME / name).stat().st_mode & 0o077 == 0
    assert RUN in (tmp_path / ME / "audit.jsonl").read_text()
    assert isinstance(them.invitation(1), JoinRequest)
