"""What the agent takes is on a list: all else is refused, and nothing that comes over the socket makes it raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from client.agent.agent import Agent
from client.agent.handlers import _HANDLERS
from common.messages import (
    MESSAGE_TYPES,
    OLDEST,
    ActivityReply,
    ActivityRequest,
    JoinReply,
    JoinRequest,
    OfferReply,
    Refusal,
    Reply,
    RevealReply,
    from_records,
    to_records,
)
from common.record_bytes import from_bytes, to_bytes
from tests.support.agent import RUN, AgentSite, answered, code_of, sent

REPLIES = [JoinReply(b"x"), OfferReply(b"x"), RevealReply(b"x"), Refusal("error"), ActivityReply("idle", 0, 0, 0)]
OTHER_VALUES = [
    *(("kind", value) for value in ("Train", "query.join", "__class__", "", "SiteHandler")),
    *(("protocol", value) for value in (0, OLDEST - 1, -3, "4", 4.0, True)),  # 3 is answered in its own form
    ("number", "1"), ("more", 1),
]  # fmt: skip
NO_RECORDS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda good: b"",
    "no config": lambda good: to_bytes(RecordDict({})),
    "a byte behind it": lambda good: good + b"\x00",
    "cut off": lambda good: good[:-1],
}


@pytest.fixture(scope="module")
def agent(site: AgentSite) -> Agent:
    """Without a socket."""
    return site.agent()


def changed(request: JoinRequest, change: Callable[[dict[str, Any]], object]) -> bytes:
    config = dict(to_records(request)["config"])
    change(config)
    return to_bytes(RecordDict({"config": ConfigRecord(config)}))


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_a_reply_is_no_request(listening: Path, reply: Reply) -> None:
    assert code_of(listening, sent(reply)) == "run"


def refusal(name: str) -> str:
    """The code for a wrong field: whoever speaks another protocol is told so."""
    return "other_release" if name == "protocol" else "run"


@pytest.mark.parametrize(("name", "value"), OTHER_VALUES)
def test_what_is_on_no_list_is_refused(listening: Path, site: AgentSite, name: str, value: object) -> None:
    assert code_of(listening, changed(site.join(), lambda config: config.update({name: value}))) == refusal(name)


@pytest.mark.parametrize("name", ["kind", "protocol", *(field.name for field in fields(JoinRequest))])
def test_a_request_that_lacks_a_field_is_refused(listening: Path, site: AgentSite, name: str) -> None:
    assert code_of(listening, changed(site.join(), lambda config: config.pop(name))) == refusal(name)


@pytest.mark.parametrize("what", NO_RECORDS)
def test_what_is_no_record_is_refused(listening: Path, site: AgentSite, what: str) -> None:
    assert code_of(listening, NO_RECORDS[what](sent(site.join()))) == "run"


def test_what_the_connector_asks_by_another_call_is_no_request(listening: Path, site: AgentSite) -> None:
    """Before a run was joined, and after."""
    assert code_of(listening, sent(ActivityRequest(RUN))) == "run"
    assert isinstance(answered(listening, sent(site.join())), JoinReply), "or the refusals above would prove nothing"
    assert code_of(listening, sent(ActivityRequest(RUN))) == "run"


def test_the_list_is_of_requests_that_a_handler_takes() -> None:
    assert set(MESSAGE_TYPES) - {ActivityRequest} == set(_HANDLERS)


@settings(max_examples=25, deadline=None)
@given(garbage=st.one_of(st.binary(max_size=300), st.binary(max_size=40).map(lambda tail: b"\x0a" + tail)))
def test_garbage_is_refused_and_never_raises(agent: Agent, garbage: bytes) -> None:
    reply = from_records(from_bytes(agent.answer(garbage)))
    assert isinstance(reply, Refusal) and reply.code in ("run", "error")


@settings(max_examples=25, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_wrong_bit_is_refused_or_joins_another_run_of_the_same(
    agent: Agent, site: AgentSite, at: int, bit: int
) -> None:
    asked = site.join()
    wrong = bytearray(sent(asked))
    wrong[at % len(wrong)] ^= 1 << bit
    reply = from_records(from_bytes(agent.answer(wrong)))
    if not isinstance(reply, Refusal):
        other = from_records(from_bytes(wrong))
        assert isinstance(reply, JoinReply) and isinstance(other, JoinRequest)
        assert (other.study, other.roster) == (asked.study, asked.roster)
