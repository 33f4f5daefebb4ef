"""The agent's socket hangs on nobody: a caller that stops in the middle, an agent that shows no life."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

import client.relay
from client import relay_pb2 as relay
from client.relay import PLACES, RelayClient
from common.messages import ConfirmRequest, Refusal
from tests.support.agent import AgentSite, answered, sent
from tests.support.pieces import answer_call, data, head

ASKED = sent(ConfirmRequest(1, ()))


def stalls(*first: relay.Piece) -> Iterator[relay.Piece]:
    """A request that stops after these pieces."""
    yield from first
    threading.Event().wait(60)


@pytest.mark.parametrize("first", [(), (head(10),), (head(10), data(b"abc"))], ids=["head", "body", "end"])
def test_a_caller_that_stops_in_the_middle_gives_its_place_up(
    listening: Path, monkeypatch: pytest.MonkeyPatch, first: tuple[relay.Piece, ...]
) -> None:
    """Two of them took both places: the agent was busy for good."""
    monkeypatch.setattr(client.relay, "TRANSFER_SECONDS", 1.0)
    with answer_call(listening) as one, answer_call(listening) as two:
        calls = [call(stalls(*first), timeout=30) for call in (one, two)]
        assert len(calls) == PLACES
        ends = time.monotonic() + 20
        while True:
            try:
                assert isinstance(answered(listening, ASKED), Refusal)
                break
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and time.monotonic() < ends
                time.sleep(0.1)
        for call in calls:
            call.cancel()


def test_an_agent_that_shows_no_life_is_given_up_and_asked_again(
    site: AgentSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connector was seen waiting for minutes; it had no deadline at all."""
    monkeypatch.setattr(client.relay, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(client.relay, "SILENT_SECONDS", 1.0)
    with site.process() as process, closing(RelayClient(site.socket)) as caller:
        assert caller.answer(ASKED)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(grpc.RpcError):
                caller.answer(ASKED)
            assert time.monotonic() - began < 15
        finally:
            os.kill(process.pid, signal.SIGCONT)
        ends = time.monotonic() + 30
        while not caller.is_serving(2.0) and time.monotonic() < ends:
            time.sleep(0.1)
        assert caller.answer(ASKED)
