"""Approvals, runs and peers of 0.1 are named as what they are, with the reason and the way out; never as tampering."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner
from flwr.app import Message, RecordDict

from client.agent.agent import Agent
from client.consent.approvals import Approvals, approved_study
from client.site import read_site
from common.errors import CheckpointError, NotApprovedError, PausedError, RunError
from common.identity.roster import Roster
from common.messages import PROTOCOL, JoinRequest, OtherProtocolError, from_records, new_message
from common.record_bytes import from_bytes
from deploy.cli import commands
from server.lost import Lost
from server.run.invitation import invite
from server.run.run_folder import open_run
from server.run.watch import read_status
from tests.support.release import Release, release


@pytest.fixture
def old(tmp_path: Path) -> Release:
    return release("0.1", tmp_path)


def said(*words: str | Path) -> str:
    done = CliRunner().invoke(commands, [str(word) for word in words])
    return f"{done.output}{done.exception or ''}"


# --------------------------------------------------------------------------------------------------------- approvals


def test_an_approval_of_0_1_asks_for_another_and_says_why(old: Release) -> None:
    digest = old.golden["digests"]["private"]
    with pytest.raises(NotApprovedError, match=r"approve again, because under 0\.1") as caught:
        approved_study(old.state, digest)
    assert "differs" not in str(caught.value)
    shown = said("site", "studies", "--at", old.north)
    assert shown.count("made by 0.1: approve again, because") == 3
    assert "withdrawn, for good" in shown and "paused; made by 0.1" in shown
    kept = old.state / "studies" / f"{digest}.yaml"  # the file that the refusal names
    assert str(kept) in str(caught.value)
    Approvals(old.state).approve(old.study("private"))
    assert approved_study(old.state, digest).digest == digest
    assert said("site", "studies", "--at", old.north).count("takes part") == 1


def test_a_pause_and_a_withdrawal_of_0_1_hold_over_a_new_approval(old: Release) -> None:
    approvals = Approvals(old.state)
    approvals.approve(old.study("unsaid"))
    with pytest.raises(PausedError):
        approvals.require(old.golden["digests"]["unsaid"])
    with pytest.raises(NotApprovedError, match="withdrawn"):
        approvals.approve(old.study("wide"))


# --------------------------------------------------------------------------------------------------------------- runs


def test_a_run_of_0_1_is_not_resumed_and_says_why(old: Release) -> None:
    with pytest.raises(CheckpointError, match=r"made by release 0\.1.*start it as a new run"):
        open_run(old.runs / "stopped", old.study("private"), resume=True)
    assert "made by release 0.1" in said("resume", "stopped", "--at", old.consortium, "--wait", "1")


def test_the_status_of_a_run_of_0_1_says_whose_it_is(old: Release) -> None:
    assert read_status(old.runs / "stopped" / "status.json").ended.startswith("made by 0.1")
    assert read_status(old.runs / "open" / "status.json").ended == "completed"
    assert "made by 0.1" in said("status", "stopped", "--at", old.consortium)


# -------------------------------------------------------------------------------------------------------------- peers


class OfSite(list[Message]):
    """The coordinator's end of messages to one site, as Flower's Grid has it: `answer` is what the site sends."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._answer = answer

    def create_message(self, content: RecordDict, kind: str, node: int, group: str) -> Message:
        return new_message(content, kind, node, group)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        for number, message in enumerate(messages):
            message.metadata.__dict__["_message_id"] = f"{number}"
            self.append(Message(from_bytes(self._answer), reply_to=message))
        return [f"{number}" for number in range(len(self))]

    def pull_messages(self, identities: Iterable[str]) -> list[Message]:
        return list(self)


@pytest.mark.parametrize("answer", ["join_reply", "refusal", "activity_reply"])
def test_a_site_of_0_1_is_named_at_the_coordinator_with_the_reason(old: Release, answer: str) -> None:
    roster, digest = Roster.read(old.consortium / "roster.yaml"), old.golden["digests"]["private"]
    request = JoinRequest("0123456789abcdef", digest, roster.digest.hex(), 1)
    joined, missing = invite(OfSite(old.message(answer)), [7], request, roster, seconds=5)  # type: ignore[arg-type]
    assert not joined
    why = Lost("join", missing[7]).words
    assert "older protocol, of release 0.1" in why and "could open what a single hospital added" in why


@pytest.mark.parametrize("asked", ["join_request", "round_request", "activity_request"])
def test_a_coordinator_of_0_1_is_refused_in_its_own_words_and_named_in_the_log(
    old: Release, asked: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The approvals are made anew, so that nothing but the protocol refuses."""
    Approvals(old.state).approve(old.study("private"))
    with caplog.at_level(logging.WARNING, "wardround.site"):
        reply = from_bytes(Agent(read_site(old.north)).answer(old.message(asked)))
    assert dict(reply["config"]) == {"kind": "Refusal", "protocol": 3, "code": "run"}  # what 0.1 can read
    assert "protocol 3, of release 0.1" in caplog.text and "could open what a single hospital added" in caplog.text


def test_a_protocol_that_is_newer_is_called_newer() -> None:
    for spoken, text in (
        (PROTOCOL + 1, "newer release of wardround"),
        (3, r"of release 0\.1"),
        ("4", "same wardround"),
    ):
        assert isinstance(OtherProtocolError(spoken), RunError)
        with pytest.raises(OtherProtocolError, match=text):
            raise OtherProtocolError(spoken)


def test_messages_of_0_1_are_read_as_of_another_protocol(old: Release) -> None:
    for path in sorted((old.root / "messages").glob("*.bin")):
        with pytest.raises(OtherProtocolError, match=r"release 0\.1"):
            from_records(from_bytes(path.read_bytes()))
