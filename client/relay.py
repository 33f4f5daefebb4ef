"""The socket between the two processes of a site: gRPC on a Unix socket, as `relay.proto` says.

The agent listens, the connector calls. Large messages go in pieces. The agent answers a malformed or too large message
with a status that says no more than that, and never with the text of an exception.

Work may take hours, everything else has a deadline at both ends: the agent waits so long for a request, and for its
answer to be taken; the connector waits for an answer while the agent shows life, and calls again when it does not.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from client import relay_pb2 as relay
from common.errors import RunError, SiteFileError
from common.messages import ActivityReply

PROTOCOL = 1
SERVICE = "wardround.relay.Agent"
PIECE_BYTES = 1 << 20  # gRPC takes messages of 4 MiB at most, unless told otherwise
PLACES = 2  # requests at a time: one is worked on, one waits. Each has a thread, and as many are left for health
TRANSFER_SECONDS = 60.0  # for the bytes of one message, from its head to its end, on one machine
LOOK_SECONDS, SILENT_SECONDS = 5.0, 60.0  # how often an agent that works is asked for a sign of life; how long without
LONGEST_PATH = 107  # bytes of a Unix socket's path (unix(7))

Answer = Callable[[bytes | bytearray], bytes]
Activity = Callable[[], ActivityReply]

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # neither process forks once gRPC has started


class RelayServer:
    """The agent's end. `answer` gets one message at a time; `activity` is asked meanwhile."""

    def __init__(self, socket: Path, answer: Answer, activity: Activity, *, largest: Callable[[], int]) -> None:
        """`largest`: bytes of one request, asked when one comes. SiteFileError for a path that a socket cannot have."""
        self._socket, self._answer, self._activity, self._largest = require_short(socket), answer, activity, largest
        self._one, self._places = threading.Lock(), threading.Semaphore(PLACES)
        self._server = grpc.server(ThreadPoolExecutor(2 * PLACES), options=[("grpc.so_reuseport", 0)])
        handlers = {
            "Answer": grpc.stream_stream_rpc_method_handler(
                self._take, relay.Piece.FromString, relay.Piece.SerializeToString
            ),
            "Activity": grpc.unary_unary_rpc_method_handler(
                self._tell, relay.ActivityRequest.FromString, relay.ActivityReply.SerializeToString
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self.health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)

    def start(self) -> None:
        """Listen. Only the socket's owner and its group may connect: 0660.

        SiteFileError for a folder in which any user could put a socket of his own there.
        """
        folder = self._socket.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        if folder.stat().st_mode & 0o002:
            raise SiteFileError(f"socket: everybody may write to {folder}, and take its place. Run chmod o-w on it.")
        self._socket.unlink(missing_ok=True)
        before = os.umask(0o117)
        try:
            self._server.add_insecure_port(f"unix:{self._socket}")
            self._server.start()
        finally:
            os.umask(before)
        self.health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        """End, and leave no socket behind."""
        self._server.stop(grace=1).wait()
        self._socket.unlink(missing_ok=True)

    def _take(self, pieces: Iterator[relay.Piece], context: grpc.ServicerContext) -> Iterator[relay.Piece]:
        if not self._places.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, BUSY)
        try:
            with _within(TRANSFER_SECONDS, context.cancel):
                request = self._whole(pieces, context)
            with self._one:
                reply = self._answer(request) if context.is_active() else b""
            with _within(TRANSFER_SECONDS, context.cancel):
                yield from in_pieces(reply)
        finally:
            self._places.release()

    def _whole(self, pieces: Iterator[relay.Piece], context: grpc.ServicerContext) -> bytearray:
        try:
            return whole(pieces, self._largest())
        except RunError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))  # fixed texts of this file
        raise AssertionError("abort raises")

    def _tell(self, request: relay.ActivityRequest, context: grpc.ServicerContext) -> relay.ActivityReply:
        if request.protocol != PROTOCOL:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, OTHER_PROTOCOL)
        told = self._activity()
        return relay.ActivityReply(state=told.state, done=told.done, total=told.total, seconds=told.seconds)


class RelayClient:
    """The connector's end."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(
            f"unix:{require_short(socket)}",
            options=[("grpc.max_reconnect_backoff_ms", 1000), ("grpc.enable_http_proxy", 0)],
        )
        self._answer = self._channel.stream_stream(
            f"/{SERVICE}/Answer", relay.Piece.SerializeToString, relay.Piece.FromString
        )
        self._activity = self._channel.unary_unary(
            f"/{SERVICE}/Activity", relay.ActivityRequest.SerializeToString, relay.ActivityReply.FromString
        )
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def answer(self, request: bytes | bytearray, largest: int = 1 << 32) -> bytearray:
        """The agent's reply. grpc.RpcError when the agent is not there, or was lost on the way, or shows no life."""
        call = self._answer(in_pieces(request))
        with self._while_alive(call.cancel):
            head = next(call, None)
        with _within(TRANSFER_SECONDS, call.cancel):
            return whole(chain([] if head is None else [head], call), largest)

    @contextmanager
    def _while_alive(self, cancel: Callable[[], object]) -> Iterator[None]:
        """Cancel a call when the agent did not answer gRPC's health check for SILENT_SECONDS."""
        done = threading.Event()

        def look() -> None:
            alive = time.monotonic()
            while not done.wait(LOOK_SECONDS):
                if self.is_serving(LOOK_SECONDS):
                    alive = time.monotonic()
                elif time.monotonic() - alive > SILENT_SECONDS:
                    cancel()
                    return

        threading.Thread(target=look, name="alive", daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def activity(self) -> ActivityReply:
        """What the agent is doing; `agent away` when it does not say."""
        try:
            told = self._activity(relay.ActivityRequest(protocol=PROTOCOL), timeout=5)
        except grpc.RpcError:
            return ActivityReply("agent away", 0, 0, 0)
        return ActivityReply(told.state, told.done, told.total, told.seconds)

    def is_serving(self, seconds: float = 1.0) -> bool:
        """gRPC's health check of the agent."""
        try:
            reply = self._health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=seconds)
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        self._channel.close()


BUSY = "The agent works on a request, and another one waits."
OTHER_PROTOCOL = "The agent and the connector are of different releases of wardround. Install the same on both."


@contextmanager
def _within(seconds: float, cancel: Callable[[], object]) -> Iterator[None]:
    """Cancel when the block lasts longer."""
    timer = threading.Timer(seconds, cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def in_pieces(data: bytes | bytearray) -> Iterator[relay.Piece]:
    """A head with the size, then the bytes."""
    yield relay.Piece(head=relay.Head(protocol=PROTOCOL, size=len(data)))
    view = memoryview(data)
    for start in range(0, len(data), PIECE_BYTES):
        yield relay.Piece(data=bytes(view[start : start + PIECE_BYTES]))


def whole(pieces: Iterator[relay.Piece], largest: int) -> bytearray:
    """The reverse of `in_pieces`. RunError unless it is one head of this protocol and exactly the bytes it announces,
    at most `largest`.
    """
    head: Any = next(pieces, None)
    if head is None or not head.HasField("head"):
        raise RunError("A message without its head.")
    if head.head.protocol != PROTOCOL:
        raise RunError(OTHER_PROTOCOL)
    if head.head.size > largest:
        raise RunError("A message larger than this site takes.")
    data = bytearray()
    for piece in pieces:
        if not piece.HasField("data") or len(data) + len(piece.data) > head.head.size:
            raise RunError("A message longer than its head says.")
        data += piece.data
    if len(data) != head.head.size:
        raise RunError("A message shorter than its head says.")
    return data


def require_short(socket: Path) -> Path:
    """SiteFileError for a path that is too long for a socket."""
    path = socket.absolute()
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise SiteFileError(
            f"socket: its path has more than {LONGEST_PATH} bytes. Choose a shorter one, as /run/wardround/agent.sock."
        )
    return path
