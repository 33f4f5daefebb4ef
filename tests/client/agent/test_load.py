"""A greedy connector: it fills the agent's two places, and what health and activity need stays free."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc

from client import relay_pb2 as relay
from client.relay import PLACES, RelayClient, RelayServer, in_pieces, whole
from common.messages import ActivityReply, ConfirmRequest
from tests.support.agent import sent
from tests.support.deployment import wait_for
from tests.support.other_user import open_folder
from tests.support.pieces import answer_call, head


def require_free(client: RelayClient) -> None:
    assert client.is_serving(5) and client.activity().state == "idle"


def wait_until_turned_away(calls: Sequence[Any], count: int) -> None:
    """So many of the calls are, and the others have the places."""
    wait_for(lambda: sum(call.done() for call in calls) >= count, f"{count} calls turned away", 20)
    assert {call.code() for call in calls if call.done()} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


def end_of(call: Any) -> str:
    try:
        return whole(call, 100).decode()
    except grpc.RpcError as error:
        return "turned away" if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else str(error.code())


def takes_work(client: RelayClient) -> bool:
    try:
        return bool(client.answer(sent(ConfirmRequest(1, ()))))
    except grpc.RpcError:
        return False


def test_parallel_streams_do_not_exhaust_the_agent(listening: Path) -> None:
    """Ten that begin and never go on, and forty that are taken back."""
    over = threading.Event()

    def pieces() -> Iterator[relay.Piece]:
        yield head(10)
        over.wait(60)

    with answer_call(listening) as call, closing(RelayClient(listening)) as client:
        begun = [call(pieces()) for _ in range(10)]
        wait_until_turned_away(begun, 10 - PLACES)
        require_free(client)
        for _ in range(40):
            call(pieces()).cancel()
        require_free(client)
        for each in begun:
            each.cancel()
        over.set()
        wait_for(lambda: takes_work(client), "the agent works again", 20)


def test_requests_that_wait_for_a_long_one_do_not_exhaust_the_agent() -> None:
    """A connector that is started again and again while the agent trains asks again and again."""
    trained, training = threading.Event(), threading.Event()

    def answer(request: bytes | bytearray) -> bytes:
        training.set()
        trained.wait(60)
        return bytes(request)

    with open_folder() as folder:
        socket = folder / "agent.sock"
        server = RelayServer(socket, answer, lambda: ActivityReply("idle", 0, 0, 0), largest=lambda: 100)
        server.start()
        with answer_call(socket) as call, closing(RelayClient(socket)) as client:
            first = call(in_pieces(b"first"))
            assert training.wait(10)
            for _ in range(20):
                call(in_pieces(b"again")).cancel()
            others = [call(in_pieces(b"again")) for _ in range(8)]
            wait_until_turned_away(others, 8 - (PLACES - 1))
            require_free(client)
            trained.set()
            assert whole(first, 100) == b"first"
            assert sorted(end_of(each) for each in others)[PLACES - 1 :] == ["turned away"] * (8 - (PLACES - 1))
        with closing(RelayClient(socket)) as client:
            assert client.answer(b"later") == b"later"
        server.stop()
