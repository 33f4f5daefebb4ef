"""The agent over days: its policy changed under it, its requests refused by name, what is past its time deleted."""

from __future__ import annotations

import logging
import os
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from flwr.app import ConfigRecord, RecordDict

from client.agent import agent as agent_module
from client.agent import lease as lease_module
from client.agent.agent import LARGEST_REQUEST, Agent
from client.agent.lease import LEASE_SECONDS
from client.agent.log_line import in_a_line
from client.agent.secure_sum import LIFETIME_SECONDS
from client.consent.approvals import Approvals, keep_study
from client.data.prepare import prepare
from client.site import read_site
from common.disk.audit import Audit, Expired, Refused
from common.messages import (
    ActivityRequest,
    ConfirmRequest,
    JoinReply,
    JoinRequest,
    OfferRequest,
    Refusal,
    Reply,
    Request,
    RevealRequest,
    from_records,
    to_records,
)
from common.models.network import build_network
from common.parameters import Parameters
from common.record_bytes import from_bytes, head_bytes, to_bytes
from common.study import Study
from deploy.research.simulation.enrol import enrol
from tests.support.hospital import hospital, person, study_of, write_csv
from tests.support.secure_sum import Consortium

RUN = "0123456789abcdef"
DAY = 86_400.0


@dataclass
class Ward:
    """A hospital with an approved study, its agent, and what its steward does to site.yaml meanwhile."""

    root: Path
    study: Study
    agent: Agent
    roster: str

    def ask(self, request: Request | Reply) -> Any:
        return from_records(from_bytes(self.agent.answer(to_bytes(to_records(request)))))

    def join(self, number: int = 1) -> Any:
        return self.ask(JoinRequest(RUN, self.study.digest, self.roster, number))

    def change(self, **values: Any) -> None:
        """Top-level keys of site.yaml, with the agent at work. The study has no privacy, and this site allows that."""
        path = self.root / "site.yaml"
        if "policy" in values:
            values["policy"] = {"require_privacy": False} | values["policy"]
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))

    @property
    def last(self) -> object:
        *_, last = Audit(self.root / "state" / "audit.jsonl").events()
        return last.event


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    folder = hospital(tmp_path / "ward")
    study = study_of(modalities=["labs", "genes"])
    state = folder.root / "state"
    others = {name: tmp_path / name for name in ("east", "west")}
    roster = enrol("test", {folder.file.site: state, **others})
    Approvals(state).approve(study)
    yield Ward(folder.root, study, Agent(read_site(folder.root)), roster.digest.hex())


# ----------------------------------------------------------------------------------------------------- a changed policy


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"require_privacy": True}, "policy"),
        ({"largest_epsilon": 1.0}, "policy"),
        ({"modalities": ["report"]}, "policy"),
        ({"minimum_cohort": 1000}, "data"),
        ({"bytes_out_per_round": 10}, "policy"),
        ({"hours": "ended"}, "outside_hours"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_stricter_policy_holds_from_the_next_request_on_and_a_looser_one_too(ward, policy, code) -> None:
    assert isinstance(ward.join(), JoinReply)
    if "hours" in policy:
        now = datetime.now()
        policy = {"hours": f"{now - timedelta(hours=2):%H:%M}-{now - timedelta(hours=1):%H:%M}"}
    ward.change(policy=policy)
    assert ward.join() == Refusal(code)
    ward.change(policy={})
    assert isinstance(ward.join(), JoinReply)


def test_a_modality_taken_out_of_the_policy_is_neither_in_the_cases_nor_signed_for(ward) -> None:
    assert ward.join().member != b""
    ward.change(policy={"modalities": ["labs"]})
    member = ward.join().member
    assert b"labs" in member and b"genes" not in member
    assert ward.agent._warm is not None and ward.agent._warm.site.cohort.owned == ("labs",)


def test_an_approval_that_policy_did_not_ask_for_is_asked_for_once_it_does(ward) -> None:
    other = replace(ward.study, rounds=7)
    asking = JoinRequest(RUN, other.digest, ward.roster, 1)
    assert ward.ask(asking) == Refusal("not_approved")
    ward.change(policy={"approval": "not_asked"})
    assert ward.ask(asking) == Refusal("not_approved")  # not kept here
    keep_study(ward.root / "state", other)
    assert isinstance(ward.ask(asking), JoinReply)
    ward.change(policy={"approval": "required"})
    assert ward.ask(asking) == Refusal("not_approved")


def test_under_another_policy_what_was_begun_is_not_gone_on_with_and_its_secrets_are_gone(ward) -> None:
    ward.join()
    before = ward.agent._warm
    assert before is not None and before.sums._consents
    ward.change(policy={"minimum_sites": 4})
    assert ward.ask(ConfirmRequest(1, ("east", "north", "west"))) == Refusal("run")
    assert not before.sums._consents and ward.agent._warm is None
    ward.join()
    assert ward.agent._warm is not None and ward.agent._warm.sums._minimum_sites == 4


def test_an_opt_out_list_that_is_named_while_the_agent_runs_leaves_its_patients_out(ward) -> None:
    ward.join()
    assert ward.agent._warm is not None
    cases = sum(len(part) for part in _parts(ward))
    write_csv(ward.root / "no.csv", [{"patient_id": person(5).patient}])
    ward.change(exclusions="no.csv")
    ward.join()
    assert sum(len(part) for part in _parts(ward)) == cases - 1


def _parts(ward: Ward) -> tuple[Any, ...]:
    assert ward.agent._warm is not None
    cohort = ward.agent._warm.site.cohort
    return cohort.train, cohort.validation, cohort.test


@pytest.mark.parametrize("damage", ["gone", "empty", "folder", "torn", "misspelt", "looser and wrong", "not text"])
def test_a_site_file_that_cannot_be_read_refuses_everything_and_says_what_to_mend(ward, caplog, damage) -> None:
    path = ward.root / "site.yaml"
    whole = path.read_text()
    ward.join()
    path.unlink()
    match damage:
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "torn":
            path.write_text(whole + "policy: {require_privacy: tr")
        case "misspelt":
            path.write_text(whole + "policy: {requires_privacy: true}\n")
        case "looser and wrong":
            path.write_text(whole + "policy: {require_secure_sum: false, hours: never}\n")
        case "not text":
            path.write_bytes(b"policy: \xff\n")
    requests = [JoinRequest(RUN, ward.study.digest, ward.roster, 2), ConfirmRequest(1, ("east", "north", "west"))]
    for request in requests * 2:  # no second look forgives it
        with caplog.at_level(logging.WARNING, "wardround.site"):
            assert ward.ask(request) == Refusal("bad_site_file")
        assert ward.last == Refused(type(request).__name__, "bad_site_file")
        assert str(path) in caplog.text  # which file
        caplog.clear()
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    path.write_text(whole)
    assert isinstance(ward.join(), JoinReply)


def test_a_site_file_wrong_from_before_the_first_request_refuses_it(ward) -> None:
    (ward.root / "site.yaml").write_text("")
    assert ward.join() == Refusal("bad_site_file")


def test_what_is_no_policy_stays_and_the_log_asks_for_a_restart_once(ward, caplog) -> None:
    ward.join()
    before = ward.agent._warm
    ward.change(state="elsewhere", target={"file": "other.csv", "column": "outcome"})
    with caplog.at_level(logging.WARNING, "wardround.site"):
        assert isinstance(ward.join(), JoinReply) and isinstance(ward.join(), JoinReply)
    assert caplog.text.count("Restart the agent") == 1
    assert ward.agent._warm is before and not (ward.root / "elsewhere").exists()


# ---------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "request_", [OfferRequest(b"x"), ConfirmRequest(1, ("a", "b", "c")), RevealRequest(1, (b"x",), b""),
                 ActivityRequest(RUN), JoinRequest(RUN, "0" * 64, "0" * 64, 1)],
    ids=lambda request: type(request).__name__,
)  # fmt: skip
def test_a_refusal_is_recorded_with_the_kind_of_its_request(ward, request_) -> None:
    assert isinstance(ward.ask(request_), Refusal)
    assert isinstance(ward.last, Refused) and ward.last.request == type(request_).__name__


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, to_bytes(to_records(Refusal("policy")))])
def test_what_is_no_request_is_recorded_as_unreadable(ward, data) -> None:
    assert isinstance(from_records(from_bytes(ward.agent.answer(data))), Refusal)
    assert ward.last == Refused("unreadable", "run")


# --------------------------------------------------------------------------------------------------------- retention


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def stored_reply(ward: Ward, name: str, age: float) -> Path:
    folder = ward.root / "state" / "replies"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"masked")
    return aged(folder / name, age)


def test_prepared_data_and_stored_replies_past_their_time_go_while_the_agent_runs(ward) -> None:
    prepare(read_site(ward.root), ward.study)
    ward.change(policy={"retention_days": 30})
    entries = sorted((ward.root / "state" / "cache").glob("*/*/"))
    aged(entries[0], 31 * DAY)
    young = stored_reply(ward, "b.reply", LIFETIME_SECONDS - 60)
    old = [stored_reply(ward, name, LIFETIME_SECONDS + 60) for name in ("a.reply", ".a.reply.draft")]
    stopped = threading.Event()
    looking = threading.Thread(target=ward.agent.keep_tidy, args=(stopped, 0.01))
    looking.start()
    try:
        _until(lambda: not entries[0].exists() and not any(path.exists() for path in old))
        aged(entries[1], 31 * DAY)
        _until(lambda: not entries[1].exists())  # not at the start alone
    finally:
        stopped.set()
        looking.join(10)
    assert young.exists() and not looking.is_alive()
    assert [record.event for record in Audit(ward.root / "state" / "audit.jsonl").events()][-2:] == [Expired(1)] * 2


def _until(there: Any) -> None:
    end = time.monotonic() + 10
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nothing_prepared_is_deleted_by_a_policy_that_cannot_be_read(ward, caplog) -> None:
    prepare(read_site(ward.root), ward.study)
    entries = [aged(entry, 1000 * DAY) for entry in (ward.root / "state" / "cache").glob("*/*/")]
    reply = stored_reply(ward, "a.reply", 2 * LIFETIME_SECONDS)
    (ward.root / "site.yaml").write_text("policy: {retention_days: 1")
    with caplog.at_level(logging.WARNING, "wardround.site"):
        ward.agent.tidy()
    assert all(entry.exists() for entry in entries) and not reply.exists()
    assert "site.yaml" in caplog.text


def test_cases_that_nobody_asked_for_since_a_day_are_not_kept_in_memory(ward, monkeypatch) -> None:
    ward.join()
    now = time.monotonic()
    monkeypatch.setattr(agent_module.time, "monotonic", lambda: now + LIFETIME_SECONDS - 60)
    ward.agent.tidy()
    assert ward.agent._warm is not None
    monkeypatch.setattr(agent_module.time, "monotonic", lambda: now + LIFETIME_SECONDS + 60)
    ward.agent.tidy()
    assert ward.agent._warm is None


@pytest.mark.parametrize("decision", [Approvals.pause, Approvals.withdraw, Approvals.purge])
def test_cases_of_a_study_that_nobody_may_ask_for_are_not_kept_in_memory(ward, decision) -> None:
    ward.join()
    ward.agent.tidy()
    assert ward.agent._warm is not None
    decision(Approvals(ward.root / "state"), ward.study.digest)
    ward.agent.tidy()
    assert ward.agent._warm is None


def test_a_request_that_is_being_answered_is_not_disturbed(ward) -> None:
    stored = stored_reply(ward, "a.reply", 2 * LIFETIME_SECONDS)
    with ward.agent._working:
        looking = threading.Thread(target=ward.agent.tidy)
        looking.start()
        looking.join(0.1)
        assert looking.is_alive() and stored.exists()
    looking.join(10)
    assert not stored.exists()


# --------------------------------------------------------------------------------------------------- one run at a time

OTHER_RUN = "fedcba9876543210"


def test_a_second_run_is_refused_while_one_is_at_work(ward) -> None:
    """It was joined, and ended the first one's sums: both charged the ledger, and neither came to its end."""
    second = JoinRequest(OTHER_RUN, ward.study.digest, ward.roster, 1)
    assert isinstance(ward.join(), JoinReply)
    assert ward.ask(second) == Refusal("busy") and ward.last == Refused("JoinRequest", "busy")
    assert isinstance(ward.join(2), JoinReply)  # the first one goes on, also by `resume`
    assert isinstance(ward.ask(replace(second, over=(RUN,))), JoinReply)
    assert ward.join(3) == Refusal("busy")


def test_of_another_study_too(ward) -> None:
    other = replace(ward.study, rounds=7)
    Approvals(ward.root / "state").approve(other)
    assert isinstance(ward.join(), JoinReply)
    assert ward.ask(JoinRequest(OTHER_RUN, other.digest, ward.roster, 1)) == Refusal("busy")
    assert isinstance(ward.join(2), JoinReply)


def test_a_run_of_which_nothing_is_heard_blocks_no_other_for_good(ward, monkeypatch) -> None:
    second = JoinRequest(OTHER_RUN, ward.study.digest, ward.roster, 1)
    assert isinstance(ward.join(), JoinReply)
    now = time.monotonic()
    for later, kind in ((LEASE_SECONDS - 60, Refusal), (LEASE_SECONDS + 60, JoinReply)):
        monkeypatch.setattr(lease_module, "time", types.SimpleNamespace(monotonic=lambda later=later: now + later))
        assert isinstance(ward.ask(second), kind)


def test_the_log_says_what_was_asked_and_done(ward, caplog) -> None:
    caplog.set_level(logging.INFO, logger="wardround.site")
    ward.join()
    [line] = [record.getMessage() for record in caplog.records if "joined" in record.getMessage()]
    assert ward.study.study in line and RUN in line and line.endswith(" s")


# ------------------------------------------------------------------------------------------------ what a request may be


def test_a_message_with_more_than_its_roster_can_ask_for_is_not_parsed(ward, caplog) -> None:
    """26 MB of entries kept an agent busy for 27 s: parsing is bounded by the number of sites."""
    most = head_bytes(4)
    for size, words in ((most // 2, "section"), (2 * most, "more beside its vectors")):
        message = to_bytes(RecordDict({"filler": ConfigRecord({"filler": bytes(size)})}))
        assert from_records(from_bytes(ward.agent.answer(message))) == Refusal("run")
        assert words in caplog.messages[-1]


def test_the_offers_of_a_roster_fit_into_its_messages() -> None:
    for count in (3, 20):
        called = [f"hospital_with_a_name_of_forty_signs_{number:04d}" for number in range(count)]
        consortium = Consortium(count, called=called)
        sent = sum(len(offer.to_bytes()) for offer in consortium.all_offers())
        assert 1.5 * sent + len(consortium.context.to_bytes()) < head_bytes(count)


def test_no_request_is_longer_than_the_studys_network_asks_for(ward) -> None:
    assert ward.agent.largest() == LARGEST_REQUEST
    assert isinstance(ward.join(), JoinReply)
    length = Parameters.of(build_network(ward.study)).length
    assert 4 * length < ward.agent.largest() < 4 * length + (64 << 20)


def test_a_refused_invitation_is_logged_with_the_run_that_it_was_to() -> None:
    study = study_of(modalities=["labs"])
    asked = JoinRequest("b" * 16, study.digest, "", 1)
    said = in_a_line(asked, Refusal("budget"), "a" * 16, study, 0.1)
    assert f"run {'b' * 16}: asked to join: refused (budget)" in said and "a" * 16 not in said
    assert f"run {'b' * 16}: joined: done" in in_a_line(asked, JoinReply(b""), "a" * 16, study, 0.1)
