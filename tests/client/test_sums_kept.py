"""What a site keeps of a sum: over a restart, in a copy, not beyond its time; and what stays on record."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from common.disk.audit import Refused, Sent, SumsAccepted
from common.messages import ConfirmRequest, OfferRequest, Refusal
from common.study import Study
from tests.support.deployment import wait_for
from tests.support.scripted import (
    ME,
    NAMES,
    RUN,
    Hospitals,
    Sum,
    copied,
    plain_study,
    refused,
)


@pytest.fixture(scope="module")
def study() -> Study:
    return plain_study()


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
    them = Hospitals(tmp_path, study, lifetime=2.0)
    sum = them.masked(them.offered(1))
    wait_for(lambda: them.sites[ME].sums._sums[1].sum.phase == "forgotten", "the secrets to be erased", 20)
    wait_for(lambda: isinstance(them.answer(ME, them.round_request(sum)), Refusal), "the reply to be too old", 20)
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


def test_what_a_site_did_is_on_record(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    them.played(1)
    kinds = [type(record.event).__name__ for record in them.sites[ME].audit.events()]
    assert kinds.index("CutsKept") == kinds.index("Masked") - 1, "of the patients whose vector leaves"
    kinds.remove("CutsKept")
    assert kinds[::2] == ["Joined", "Offered", "Masked", "Confirmed", "Revealed"]
    assert set(kinds[1::2]) == {"Sent"} and len(kinds) == 10
    assert them.sites[ME].audit.verify().broken is None
    for name in ("audit.jsonl", "secure_sum.db"):
        assert Path(tmp_path / ME / name).stat().st_mode & 0o077 == 0
    assert RUN in (tmp_path / ME / "audit.jsonl").read_text()


@pytest.mark.parametrize("harm", ["deleted at work", "put back at work", "deleted", "put back", "emptied"])
def test_records_that_were_deleted_or_put_back_are_refused_in_words(tmp_path, study, caplog, harm) -> None:
    """The log beside them has what they lack. Without it the same could be answered again over other sites."""
    them = Hospitals(tmp_path, study)
    path = tmp_path / ME / "secure_sum.db"
    them.played(1)
    copy = path.read_bytes()
    them.played(2, round=2)
    newest = path.read_bytes()
    match harm:
        case "deleted at work" | "deleted":
            path.unlink()
        case "put back" | "put back at work":
            path.write_bytes(copy)
        case "emptied":
            path.write_bytes(b"")
    if not harm.endswith("at work"):
        them.sites[ME] = them.start(ME)
    assert refused(them, ME, them.invitation(3)) == "run"
    assert "put back from a copy, or deleted" in caplog.text and "site accept-sums" in caplog.text
    path.write_bytes(newest)
    them.played(3, round=2)


def test_a_person_may_go_on_with_records_that_lack_sums_and_is_asked_again_the_next_time(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    them.played(1)
    path = tmp_path / ME / "secure_sum.db"
    for number in (2, 3):
        path.unlink()
        assert refused(them, ME, them.invitation(number)) == "run"
        them.sites[ME].audit.append(SumsAccepted(1))
        them.played(number, round=2)


def test_an_audit_log_that_is_gone_does_not_stop_the_sums(tmp_path, study) -> None:
    them = Hospitals(tmp_path, study)
    them.played(1)
    (tmp_path / ME / "audit.jsonl").unlink()
    them.sites[ME] = them.start(ME)
    them.played(2, round=2)
