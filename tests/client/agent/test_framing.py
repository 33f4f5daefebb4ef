"""The framing of the agent's socket, as a connector would break it that somebody has taken over."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import relay_pb2 as relay
from client.agent.agent import LARGEST_REQUEST
from client.relay import PIECE_BYTES, PROTOCOL, SERVICE, in_pieces, whole
from common.messages import ConfirmRequest
from tests.support.agent import answered, sent
from tests.support.pieces import answer_call, data, head

INVALID = grpc.StatusCode.INVALID_ARGUMENT
BAD_FRAMES: dict[str, tuple[list[relay.Piece], str]] = {
    "a byte too few": ([head(10), data(b"x" * 9)], "shorter"),
    "a head alone": ([head(1)], "shorter"),
    "an empty piece": ([head(10), data(b"")], "shorter"),
    "a byte too many": ([head(10), data(b"x" * 11)], "longer"),
    "a byte after none": ([head(0), data(b"x")], "longer"),
    "a piece too many": ([head(2), *[data(b"x")] * 3], "longer"),
    "two heads": ([head(1), head(1)], "longer"),
    "a head at the end": ([head(1), data(b"x"), head(0)], "longer"),
    "a piece that is neither": ([head(1), relay.Piece()], "longer"),
    "the head behind": ([data(b"x"), head(1)], "without its head"),
    "no head": ([data(b"x")], "without its head"),
    "neither alone": ([relay.Piece()], "without its head"),
    "nothing": ([], "without its head"),
}


def refused(socket: Path, pieces: Iterable[relay.Piece]) -> grpc.RpcError:
    """What the call ends with; the agent goes on."""
    with answer_call(socket) as call, pytest.raises(grpc.RpcError) as error:
        list(call(iter(pieces), timeout=30))
    assert answered(socket, sent(ConfirmRequest(1, ())))
    return error.value


@pytest.mark.parametrize("protocol", [0, PROTOCOL + 1, 2**32 - 1])
def test_another_protocol_in_the_head_is_named(listening: Path, protocol: int) -> None:
    error = refused(listening, [head(1, protocol), data(b"x")])
    assert error.code() is INVALID and "of different releases" in error.details()


def test_the_activity_of_another_protocol_is_named(listening: Path) -> None:
    with grpc.insecure_channel(f"unix:{listening}") as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/Activity", relay.ActivityRequest.SerializeToString, relay.ActivityReply.FromString
        )
        with pytest.raises(grpc.RpcError) as error:
            ask(relay.ActivityRequest(protocol=PROTOCOL + 1), timeout=5)
        assert "of different releases" in error.value.details()
        assert ask(relay.ActivityRequest(protocol=PROTOCOL), timeout=5).state == "idle"


@pytest.mark.parametrize("size", [LARGEST_REQUEST + 1, 2**63, 2**64 - 1])
def test_what_announces_too_much_is_refused_before_it_is_sent(listening: Path, size: int) -> None:
    """The pieces after the head do not come: who waits for them would not answer."""
    began, answer_came = time.monotonic(), threading.Event()

    def pieces() -> Iterator[relay.Piece]:
        yield head(size)
        answer_came.wait(30)

    error = refused(listening, pieces())
    answer_came.set()
    assert error.code() is INVALID and "larger than this site takes" in error.details()
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("what", BAD_FRAMES)
def test_the_framing_is_kept_to_the_byte(listening: Path, what: str) -> None:
    pieces, words = BAD_FRAMES[what]
    error = refused(listening, pieces)
    assert error.code() is INVALID and words in error.details()


def test_an_endless_stream_is_cut_at_what_it_announced(listening: Path) -> None:
    taken = itertools.count()

    def pieces() -> Iterator[relay.Piece]:
        yield head(3 * PIECE_BYTES)
        while next(taken) < 1000:
            yield data(b"x" * PIECE_BYTES)

    error = refused(listening, pieces())
    assert error.code() is INVALID and "longer than its head says" in error.details()
    assert next(taken) < 100


def test_one_piece_that_is_too_large_is_not_taken(listening: Path) -> None:
    size = 5 << 20  # gRPC takes 4 MiB
    error = refused(listening, [head(size), data(b"x" * size)])
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "name", [f"/{SERVICE}/Run", f"/{SERVICE}/", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"]
)
def test_only_the_three_calls_are_there(listening: Path, name: str) -> None:
    with grpc.insecure_channel(f"unix:{listening}") as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(name)(b"", timeout=5)
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


@given(content=st.binary(max_size=3000), size=st.integers(1, 999))
def test_pieces_of_any_size_make_the_whole(content: bytes, size: int) -> None:
    cut = [data(content[start : start + size]) for start in range(0, len(content), size)]
    assert whole(iter([head(len(content)), *cut]), 3000) == content == whole(in_pieces(content), 3000)
