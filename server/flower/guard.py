"""The guard in front of Flower's server: from outside only the fleet API and the health check answer.

Flower 1.41 serves its fleet, control and runtime APIs on one port, and leaves the last two open to whoever reaches it:
to start a run there is to run code. Here they want a secret that is made at each start and never leaves the machine.
An address is no identity: behind a reverse proxy every caller is 127.0.0.1. The fleet API has Flower's own signatures;
of it, only what a site needs is open: nodes are registered by the coordinator, and app bundles are for nobody. They
stand in the head of a call, and no byte of a stranger's body is read.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = "x-wardround-secret"
EXTENSION = "wardround.door"  # of a scope: the connection that a call came on (server/flower/door.py)
SECRET_BYTES = 32
FLEET = frozenset(
    f"/v1/fleet/{call}"
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "pull-object",
        "push-object",
        "confirm-message-received",
    )
)
HEALTH = "/health"
OPEN = FLEET | {HEALTH}
# Longest body of one request. In memory a parsed list is thirty times its bytes: without the secret only an object may
# be long, of which the largest, a chunk, has 5 MiB.
LONGEST_BODY, LONGEST_OBJECT, LONGEST_CALL = 32 << 20, 8 << 20, 128 << 10


class Guard:
    """ASGI middleware, outermost."""

    def __init__(self, app: App, secret: str, signed: Callable[[Scope], Awaitable[bool]]) -> None:
        """`signed`: whether the head of a call to the fleet API has the signature of a node that is admitted."""
        self._app, self._secret, self._signed = app, secret.encode(), signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif (status := await self._refusal(scope)) != 0:
            await _answer(send, status)
        else:
            await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> int:
        """The status that the call is refused with, for what its head says; 0 for none."""
        path = scope["path"]
        if path not in OPEN and not self._knows_secret(scope):
            return 403
        if _length(scope) > _longest(path):
            return 413
        if path in FLEET and not await self._signed(scope):
            return 401
        if path != HEALTH and EXTENSION in scope.get("extensions", {}):
            scope["extensions"][EXTENSION]["connection"].admit()
        return 0

    def _knows_secret(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name.lower() == HEADER.encode()]
        return len(given) == 1 and hmac.compare_digest(given[0], self._secret)


def _longest(path: str) -> int:
    if path not in OPEN:
        return LONGEST_BODY
    return LONGEST_OBJECT if path == "/v1/fleet/push-object" else LONGEST_CALL


def _length(scope: Scope) -> int:
    """What the request says of its body; one that says nothing is streamed, and nobody who may come here streams."""
    headers = {name.lower(): value for name, value in scope["headers"]}
    if b"transfer-encoding" in headers:
        return LONGEST_BODY + 1
    text = headers.get(b"content-length", b"0")
    return int(text) if text.isdigit() else LONGEST_BODY + 1


async def _answer(send: Send, status: int) -> None:
    head = [(b"content-length", b"0"), *([(b"connection", b"close")] if status == 413 else [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": b""})
