"""A coordinator chooses the protocol in which it asks a site: no choice takes a check away, or gains it an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import protocols
from common.errors import ReleaseError
from common.messages import (
    FIRST,
    PROTOCOL,
    ConfirmRequest,
    JoinRequest,
    OfferRequest,
    Refusal,
    Request,
    RevealRequest,
    RoundReply,
    RoundRequest,
)
from common.protocols import HERE, Need
from tests.support.scripted import ME, NAMES, PRIVATE, Hospitals, Sum, plain_study, refused
from tests.support.tiny import study_of

NUMBERS = list(HERE.wire)


def in_number(them: Hospitals, number: int) -> Hospitals:
    them.protocol = number
    return them


def paid(them: Hospitals) -> bytes:
    path = them.folder / ME / "ledger.jsonl"
    return path.read_bytes() if path.exists() else b""


@pytest.fixture
def them(tmp_path: Path) -> Hospitals:
    return Hospitals(tmp_path, study_of("chart", "panel", **PRIVATE))


# What no honest coordinator sends, made of a sum that stands: each is refused by a check of its own.
Attack = Callable[[Hospitals, Sum], Request]
ATTACKS: dict[str, tuple[str, Attack]] = {
    "another study": ("run", lambda them, sum: replace(them.invitation(9), study="0" * 64)),
    "another roster": ("identity", lambda them, sum: replace(them.invitation(9), roster="0" * 64)),
    "another threshold for a sum that stands": (
        "out_of_order",
        lambda them, sum: OfferRequest(replace(sum.context, threshold=4).to_bytes()),
    ),
    "no offers": ("secure_sum", lambda them, sum: replace(them.round_request(sum), offers=())),
    "another run": ("run", lambda them, sum: them.round_request(sum, run="f" * 16)),
    "sites that are not in the sum": ("secure_sum", lambda them, sum: them.round_request(sum, sites=NAMES[:3])),
    "an owner alone": (
        "secure_sum",
        lambda them, sum: them.round_request(sum, owners={"shared": NAMES, "chart": (ME,)}),
    ),
    "statistics in a round that trains": (
        "run",
        lambda them, sum: them.round_request(sum, asks=("statistics", "update")),
    ),
    "another layout": ("other_release", lambda them, sum: replace(them.round_request(sum), derived=b"another")),
    "too few survivors": ("out_of_order", lambda them, sum: ConfirmRequest(sum.context.number, (ME,))),
    "shares for nobody": ("out_of_order", lambda them, sum: RevealRequest(sum.context.number, ())),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_refused_in_one_number_is_refused_in_each(them: Hospitals, name: str) -> None:
    """And the honest request after it is answered in each."""
    sum = them.offered(1)
    codes = []
    for number in NUMBERS:
        attack = ATTACKS[name][1](in_number(them, number), sum)
        codes.append(refused(them, ME, attack))
    assert codes == [ATTACKS[name][0]] * len(NUMBERS)
    for number in NUMBERS:
        assert isinstance(in_number(them, number).answer(ME, them.round_request(sum)), RoundReply)
    assert paid(them)


def test_a_round_that_is_asked_again_in_another_number_has_the_same_answer_and_is_paid_once(them: Hospitals) -> None:
    """Or a coordinator would have two draws of the noise for the price of one, or two prices for one."""
    sum = them.offered(1)
    first = in_number(them, FIRST).ask(ME, them.round_request(sum))
    before = paid(them)
    again = in_number(them, PROTOCOL).ask(ME, them.round_request(sum))
    assert before and paid(them) == before
    assert np.array_equal(first.masked, again.masked) and first.head == again.head
    other = them.round_request(sum, weights=them.weights + 1)  # and another question is none for the same masks
    assert refused(them, ME, other)


def test_sites_that_are_asked_in_different_numbers_are_summed_as_if_in_one(tmp_path: Path) -> None:
    """Nothing that is summed or signed hangs on the number."""

    class Mixed(Hospitals):
        def answer(self, name: str, request: Request) -> Any:
            self.protocol = PROTOCOL if self.mixed and name in (ME, "west") else FIRST
            return super().answer(name, request)

        mixed = False

    sums = []
    for mixed in (False, True):
        them = Mixed(tmp_path / str(mixed), plain_study())
        them.mixed = mixed
        sums.append(them.summed(1))
    assert sums[0].keys() == sums[1].keys()
    assert all(np.array_equal(value, sums[1][name]) for name, value in sums[0].items())


def requests(them: Hospitals, sum: Sum) -> dict[type[Request], Request]:
    """Each of a sum's requests, as an honest coordinator sends it first."""
    return {
        JoinRequest: them.invitation(2),
        OfferRequest: OfferRequest(sum.context.to_bytes()),
        RoundRequest: them.round_request(sum),
        ConfirmRequest: ConfirmRequest(1, NAMES),
        RevealRequest: RevealRequest(1, (b"x",)),
    }


def test_a_study_that_needs_a_newer_number_is_answered_in_no_older_one(
    them: Hospitals, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the newer one says or binds, the coordinator cannot leave it out by asking in the older one."""
    monkeypatch.setattr(protocols, "NEEDS", (Need(5, lambda study: study.private, "asks for more than was known"),))
    sum = in_number(them, 5).offered(1)
    for request in requests(them, sum).values():
        assert refused(in_number(them, 4), ME, request) == ReleaseError.code
    assert "asks in protocol 4, and this study needs 5: it asks for more than was known" in caplog.text
    assert not paid(them)
    assert isinstance(in_number(them, 5).answer(ME, them.round_request(sum)), RoundReply)
    other = Hospitals(them.folder / "other", plain_study())  # which needs none
    assert not isinstance(in_number(other, 4).answer(ME, other.invitation(1)), Refusal)
