"""What a site answered, asked again: the same bytes, the same question over the same sites only, or a new charge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.disk.audit import Audit, Event, Masked
from common.errors import AuditError
from common.messages import ConfirmRequest, OfferRequest, Refusal, RoundReply
from common.study import Study
from tests.support.scripted import ME, NAMES, PRIVATE, Hospitals, normalised_study, plain_study, refused
from tests.support.tiny import study_of


@pytest.fixture(scope="module")
def study() -> Study:
    return plain_study()


def test_the_same_request_gets_the_same_bytes_and_no_second_training(tmp_path) -> None:
    them = Hospitals(tmp_path, study_of("chart", "panel", **PRIVATE))
    sum = them.offered(1)
    offer = them.ask(ME, OfferRequest(sum.context.to_bytes())).offer
    assert offer == sum.offers[ME]
    first = them.ask(ME, them.round_request(sum))
    ledger = (tmp_path / ME / "ledger.jsonl").read_bytes()
    again = them.ask(ME, them.round_request(sum))
    assert isinstance(first, RoundReply)
    assert again.head == first.head and again.masked.tobytes() == first.masked.tobytes()
    for other in (them.round_request(sum, weights=sum.plan.weights + np.float32(1)), them.round_request(sum, round=2)):
        assert refused(them, ME, other) == "out_of_order"
    assert (tmp_path / ME / "ledger.jsonl").read_bytes() == ledger
    them.confirmed(them.masked(sum))
    assert them.ask(ME, ConfirmRequest(1, NAMES)).confirmation == sum.confirmations[ME]
    given = them.ask(ME, them.reveal_request(sum)).reveal
    assert them.ask(ME, them.reveal_request(sum)).reveal == given, "also when the sum is over"
    assert refused(them, ME, them.reveal_request(sum, b"other")) == "out_of_order"


def no_room_for_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the line about a masked vector is written."""
    append = Audit.append

    def full(log: Audit, event: Event) -> None:
        if isinstance(event, Masked):
            raise AuditError("No room.")
        append(log, event)

    monkeypatch.setattr(Audit, "append", full)


def test_a_vector_from_before_an_opt_out_is_not_sent_as_one_of_after_it(tmp_path, study, monkeypatch) -> None:
    """It was made, and its line could not be written. What was kept beside it was said to be of the cases of now."""
    scores = {"round": 1, "asks": ("validation",)}
    them = Hospitals(tmp_path, study)
    sum = them.offered(1, **scores)
    with monkeypatch.context() as patch:
        no_room_for_its_line(patch)
        assert them.answer(ME, them.round_request(sum)) == Refusal("audit")
    site, before = them.sites[ME].site, them.cohorts[ME]
    less = replace(before, validation=before.validation.rows(range(1, len(before.validation))), version="8" * 64)
    site.__dict__["cohort"] = less
    assert refused(them, ME, them.round_request(sum)) == "out_of_order"
    site.__dict__["cohort"] = before
    assert them.opened(sum)["scores/cases"] == 4 * len(before.validation), "of the same cases it is sent"
    site.__dict__["cohort"] = less
    weights = them.weights + np.float32(1)
    assert them.summed(2, **scores, weights=weights)["scores/cases"] == 4 * len(before.validation) - 1


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
        {"asks": ("statistics",), "round": 0},
        {"asks": ("validation",), "round": 2},
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
        **(asked | {"weights": them.weights + np.float32(0.5), "asks": ("update",), "round": 1}),
    )


def test_a_private_site_answers_again_and_pays_again(tmp_path) -> None:
    study = study_of("chart", "panel", **PRIVATE)
    them = Hospitals(tmp_path, study)
    them.played(1, NAMES[:3])
    before = (tmp_path / ME / "ledger.jsonl").stat().st_size
    them.played(2, NAMES, attempt=2)
    assert (tmp_path / ME / "ledger.jsonl").stat().st_size > before


def test_what_was_asked_before_does_not_change_an_answer(tmp_path) -> None:
    """A plan without a normaliser has none: not the one that another plan brought."""
    study = normalised_study()
    asked = {"asks": ("validation",), "round": 2, "weights": None}
    answers = []
    for place, before in enumerate(({}, {"chart": (np.array([5.0, 5.0]), np.array([1.0, 0.1]))})):
        them = Hospitals(tmp_path / str(place), study)
        asked["weights"] = np.random.default_rng(3).normal(0, 1, them.weights.size).astype(np.float32)
        first = them.summed(1, **(asked | {"weights": them.weights, "normaliser": before}))
        answers.append((first, them.summed(2, **asked)))
    (plain, fresh), (moved, after) = answers
    assert not np.array_equal(plain["scores/brier"], moved["scores/brier"]), "the normaliser changes nothing here"
    for name, value in fresh.items():
        assert np.array_equal(value, after[name]), name
