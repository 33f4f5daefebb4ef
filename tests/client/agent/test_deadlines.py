"""The agent's socket hangs on no caller that stops in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

import client.relay
from client import relay_pb2 as relay
from client.relay import PLACES
from common.messages import ConfirmRequest, Refusal
from tests.support.agent import answered, sent
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
