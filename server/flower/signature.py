"""Whose call it is, by its head alone: Flower's nodes sign the time of each call, and nothing of its body.

Flower looks at the signature when it has read and parsed the body. Here it is looked at before, with Flower's own
functions, and a signature that was found good is not verified twice.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from datetime import datetime
from functools import lru_cache
from typing import Any

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_HEADER, TIMESTAMP_TOLERANCE
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, public_key_to_bytes, verify_signature
from flwr.supercore.state.schema.linkstate_models import Node
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from server.flower.guard import Scope

LOOK_SECONDS = 0.5  # from one look for the admitted keys to the next
REMEMBERED = 4096  # signatures


class Signed:
    """Whether a call was signed by a node that the SuperLink lets in. Called with the call's scope."""

    def __init__(self) -> None:
        self._keys: frozenset[bytes] = frozenset()
        self._looked, self._one = float("-inf"), asyncio.Lock()

    async def __call__(self, scope: Scope) -> bool:
        try:
            head = {name.decode("ascii"): value.decode("ascii") for name, value in scope["headers"]}
            key = b64decode(head[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
            signature = b64decode(head[FLEET_HTTP_SIGNATURE_HEADER], validate=True)
            told = head[TIMESTAMP_HEADER]
            fresh = is_fresh(datetime.fromisoformat(told))
        except (KeyError, ValueError, TypeError):
            return False
        if not fresh or key not in await self._admitted(scope):
            return False  # a key that nobody admitted costs no arithmetic
        return is_signed(key, told.encode("ascii"), signature)

    async def _admitted(self, scope: Scope) -> frozenset[bytes]:
        async with self._one:  # who comes while somebody looks waits for what that one sees
            if time.monotonic() - self._looked > LOOK_SECONDS:
                state = scope["app"].state.linkstate_factory.state()
                self._keys, self._looked = await run_in_threadpool(admitted_keys, state), time.monotonic()
        return self._keys


def admitted_keys(state: Any) -> frozenset[bytes]:
    """Of all nodes that the SuperLink lets in."""
    with state.session() as session:
        return frozenset(session.scalars(select(Node.public_key).where(Node.status != "unregistered")))


def is_fresh(signed: datetime) -> bool:
    """As Flower judges it. TypeError for a time without its zone."""
    age = (now() - signed).total_seconds()
    return -SYSTEM_TIME_TOLERANCE < age < TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE


@lru_cache(REMEMBERED)
def is_signed(key: bytes, text: bytes, signature: bytes) -> bool:
    """Flower's verification; of the same three it says the same."""
    return verify_signature(bytes_to_public_key(key), text, signature)


def verify_remembered(key: Any, text: bytes, signature: bytes) -> bool:
    """Flower's verification, in its place: what was seen at the door is not done again."""
    return is_signed(public_key_to_bytes(key), text, signature)
