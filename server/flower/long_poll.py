"""Keeps looks for messages until there is something to see: the server's half of `common/network/long_poll.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from common.network.flower_objects import SMALL_BYTES
from common.network.long_poll import FOR_RUN, FOR_SITES, HEADER, WAIT_SECONDS
from server.flower.guard import App, Receive, Scope, Send

# What makes news for whom, when it is small: a message's head comes first, and whoever was told fetches its chunks.
_NEWS = {"/v1/runtime/push-object": FOR_SITES, "/v1/fleet/push-object": FOR_RUN}


class Bell:
    """ASGI middleware, behind the guard. It numbers what was sent to the sites, and to the run; it knows no message."""

    def __init__(self, app: App) -> None:
        self._app = app
        began = time.time_ns()  # a number of a server that was started again means nothing to this one
        self._number = {FOR_SITES: began, FOR_RUN: began}
        self._rung = {FOR_SITES: asyncio.Event(), FOR_RUN: asyncio.Event()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "http" and path in self._number:
            await self._look(path, scope, receive, send)
            return
        well = _Heard(send)
        await self._app(scope, receive, well)
        if well.well and path in _NEWS and _length(scope) < 2 * SMALL_BYTES:
            self._ring(_NEWS[path])

    def _ring(self, path: str) -> None:
        self._number[path] += 1
        self._rung[path].set()
        self._rung[path] = asyncio.Event()

    async def _look(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if (HEADER.encode(), str(self._number[path]).encode()) in scope["headers"]:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung[path].wait(), WAIT_SECONDS)
        seen = str(self._number[path]).encode()  # before Flower looks: what comes meanwhile is news

        await self._app(scope, receive, _Heard(send, (HEADER.encode(), seen)))


class _Heard:
    """Passes an answer on, and knows whether it is a yes: a stranger, who is refused, is told and believed nothing."""

    def __init__(self, send: Send, *headers: tuple[bytes, bytes]) -> None:
        self._send, self._headers, self.well = send, headers, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            self.well = True
            message = {**message, "headers": [*message["headers"], *self._headers]}
        await self._send(message)


def _length(scope: Scope) -> int:
    """Of the body; the guard let only those come here that say it."""
    return int(dict(scope["headers"]).get(b"content-length", b"0"))
