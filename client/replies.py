"""Answers that a site gave in the present sum: the same request again gets the same bytes, and does no work twice."""

from __future__ import annotations

import time
from dataclasses import fields
from typing import Any

from common.messages import Reply, Request
from common.plan import RoundPlan
from common.secure_sum.encoding import digest, encode, number


class Replies:
    """By the digest of the request. They are gone `lifetime` seconds after they were given, or when others are kept."""

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._kept: dict[bytes, tuple[float, Reply]] = {}

    def find(self, request: Request) -> Reply | None:
        """The answer that this very request was given before."""
        now = time.monotonic()
        self._kept = {key: kept for key, kept in self._kept.items() if now - kept[0] < self._lifetime}
        kept = self._kept.get(_digest(request))
        return kept[1] if kept else None

    def keep(self, request: Request, reply: Reply, *, alone: bool = False) -> None:
        """`alone`: the sum is over, its other answers are forgotten."""
        if alone:
            self._kept.clear()
        self._kept[_digest(request)] = (time.monotonic(), reply)


def _digest(request: Request) -> bytes:
    return digest(type(request).__name__, *(_bytes(getattr(request, item.name)) for item in fields(request)))


def _bytes(value: Any) -> bytes:
    if isinstance(value, RoundPlan):
        return value.digest
    if isinstance(value, tuple):
        return encode(*(_bytes(item) for item in value))
    if isinstance(value, str):
        return value.encode()
    return number(value) if isinstance(value, int) else bytes(value)
