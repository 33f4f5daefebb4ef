"""The door of the coordinator's server: what a connection may cost before anybody knows whose it is.

Uvicorn, the web server under Flower's, reads a head of any length, waits for a body for as long as it takes, and takes
any number of connections. Here a head has at most `HEAD_BYTES`, everything that a caller does has a deadline, and of
the connections of strangers the oldest makes room for a new one: a site signs a call within a moment of connecting,
and its connection is a stranger's no more.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.flower.guard import EXTENSION

HEAD_BYTES, PIECE_BYTES = 64 << 10, 16 << 10
HEAD_SECONDS = 10.0  # for TLS's handshake, then for a head, and for a stranger's body, of which nothing is kept
LAST_SECONDS = 0.1  # for the answer to what is cut off
SLOWEST_BYTES = 8 << 10  # a second, of the body of a call that an admitted node signed
STRANGERS = 64  # connections on which nobody signed a call yet
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Strangers:
    """Connections that nobody is known to have, the oldest first, and how each is ended."""

    def __init__(self) -> None:
        self._ends: dict[object, Callable[[], object]] = {}

    def enter(self, connection: object, end: Callable[[], object]) -> None:
        """Keep its place in the order, if it is here already."""
        self._ends[connection] = end
        while len(self._ends) > STRANGERS:
            oldest = next(iter(self._ends))
            self._ends.pop(oldest)()

    def __contains__(self, connection: object) -> bool:
        return connection in self._ends

    def leave(self, connection: object) -> None:
        """It is known now, or has ended."""
        self._ends.pop(connection, None)


class Connection(HttpToolsProtocol):
    """One connection over TLS, with limits."""

    strangers: Strangers  # set by the server that makes it
    place: object = None  # in `strangers`

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._framing = self._piece = 0  # bytes that are no body's, since the request began; bytes of what is parsed
        self._unread = 0  # bytes of the body that did not come yet
        self._due: asyncio.TimerHandle | None = None
        super().connection_made(transport)  # type: ignore[arg-type]  # over TLS, which is a transport of its own
        self.strangers.enter(self.place, self.transport.abort)
        self._give(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._give(None)
        self.strangers.leave(self.place)
        super().connection_lost(exc)

    def admit(self) -> None:
        """A node that is admitted signed this call, or it has this machine's secret: it may take its time."""
        self.strangers.leave(self.place)
        if self._due is not None:
            self._give(HEAD_SECONDS + self._unread / SLOWEST_BYTES)

    def data_received(self, data: bytes) -> None:
        start = 0
        while start < len(data):
            # A head is looked at in pieces. What is known to be a body's goes whole: each part of one is copied again.
            end = start + max(PIECE_BYTES, self._unread)
            self._parse(data[start:end])
            if self.transport.is_closing():
                self._let_go()
                return
            start = end
        if self._due is None and (self.cycle is None or self.cycle.response_complete):
            self._give(HEAD_SECONDS)  # uvicorn's own for a connection that nobody uses ends with the first byte

    def _parse(self, piece: bytes) -> None:
        self._piece = len(piece)
        self._framing += self._piece
        super().data_received(piece)
        if self._framing > HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LONG)
            self.transport.close()

    def _give(self, seconds: float | None) -> None:
        """So much time for what the caller is to do next; None: it is not the caller's turn."""
        if self._due is not None:
            self._due.cancel()
        self._due = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)

    def _let_go(self) -> None:
        """The last answer is on its way: TLS would read on, until the caller agrees to the end."""
        self._give(LAST_SECONDS)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing() and self.place in self.strangers:
            self._let_go()

    # ------------------------------------------------------------------------------------------ the parser calls these

    def on_message_begin(self) -> None:
        if self.pipeline:  # one may come early: the last byte of an answer is sent before uvicorn knows that it was
            raise ValueError("two requests before the one before was answered")  # httptools makes 400 of it
        self._framing, self._unread = self._piece, 0
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: {"connection": self}}

    def on_headers_complete(self) -> None:
        length = dict(self.headers).get(b"content-length", b"0")
        self._unread = int(length) if length.isdigit() else 0
        self._give(HEAD_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        self._unread -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._give(None)
        super().on_message_complete()


class Server(uvicorn.Server):
    """Uvicorn's, with an accept of its own: a connection counts before TLS begins."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._strangers, self._shaking = Strangers(), set[asyncio.Task[None]]()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])  # all but listening
        if self.should_exit:
            return
        family = socket.AF_INET6 if ":" in self.config.host else socket.AF_INET
        self._listens = socket.create_server(
            (self.config.host, self.config.port), family=family, backlog=self.config.backlog
        )
        self._listens.setblocking(False)
        self._accepts = asyncio.create_task(self._accept())
        self._accepts.add_done_callback(self._end)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._accepts.cancel()
        self._listens.close()
        await super().shutdown()

    def _end(self, accepts: asyncio.Task[None]) -> None:
        """A server that takes no connections any more is no server: the coordinator starts another one."""
        self.should_exit = True

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(self._listens)
            except OSError:  # it is gone already, or there are no more descriptors
                await asyncio.sleep(0.1)
                continue
            place = object()
            shakes = loop.create_task(self._shake(connected, place))
            self._strangers.enter(place, shakes.cancel)
            self._shaking.add(shakes)
            shakes.add_done_callback(self._shaking.discard)

    async def _shake(self, connected: socket.socket, place: object) -> None:
        """TLS's handshake; then the connection is uvicorn's. Nothing that a stranger does wrong here is told."""
        made: list[Connection] = []

        def protocol() -> Connection:
            made.append(Connection(self.config, self.server_state, self.lifespan.state))
            made[0].strangers, made[0].place = self._strangers, place
            return made[0]

        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol, connected, ssl=self.config.ssl, ssl_handshake_timeout=HEAD_SECONDS
            )
        except (OSError, asyncio.CancelledError):
            self._strangers.leave(place)
            if made and made[0].transport is not None:
                made[0].transport.abort()
            else:
                connected.close()


def run(app: Any, **settings: Any) -> None:
    """`uvicorn.run`, through this door."""
    with suppress(KeyboardInterrupt):
        server = Server(uvicorn.Config(app, **settings | {"http": Connection, "ws": "none"}))
        server.run()
        if not server.started:
            sys.exit(3)
