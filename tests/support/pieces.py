"""The bare call of a site's socket, for pieces that no connector would send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from client import relay_pb2 as relay
from client.relay import PROTOCOL, SERVICE

Call = Callable[[Iterable[relay.Piece]], Any]  # pieces -> the call: an iterator of pieces that can be cancelled


@contextmanager
def answer_call(socket: Path) -> Iterator[Call]:
    with grpc.insecure_channel(f"unix:{socket}", options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel.stream_stream(f"/{SERVICE}/Answer", relay.Piece.SerializeToString, relay.Piece.FromString)


def head(size: int, protocol: int = PROTOCOL) -> relay.Piece:
    return relay.Piece(head=relay.Head(protocol=protocol, size=size))


def data(content: bytes) -> relay.Piece:
    return relay.Piece(data=content)
