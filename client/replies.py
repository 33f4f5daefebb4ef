"""Answers that a site gave in the present sum: the same request again gets the same bytes, and does no work twice."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from common.errors import RunError
from common.messages import Reply, Request, RoundReply, from_bytes, from_records, to_bytes, to_records
from common.plan import RoundPlan
from common.secure_sum.encoding import digest, encode, number
from common.whole_file import make_private, write_whole


class Replies:
    """By the digest of the request. They are gone `lifetime` seconds after they were given, or when others are kept.

    A masked vector is on disk as well: it costs a round's training, and a privacy charge, to make. To everyone it is
    random numbers. What was revealed is not: it stays in memory, and is lost with it.
    """

    def __init__(self, lifetime: float, folder: Path) -> None:
        self._lifetime, self._folder = lifetime, folder
        self._kept: dict[bytes, tuple[float, Reply]] = {}

    def find(self, request: Request) -> Reply | None:
        """The answer that this very request was given before, also before a crash."""
        now, key = time.monotonic(), _digest(request)
        self._kept = {key: kept for key, kept in self._kept.items() if now - kept[0] < self._lifetime}
        kept = self._kept.get(key)
        return kept[1] if kept else self._stored(self._path(key))

    def keep(self, request: Request, reply: Reply, *, alone: bool = False) -> None:
        """`alone`: the sum is over, its other answers are forgotten."""
        if alone:
            self._kept.clear()
        key = _digest(request)
        self._kept[key] = (time.monotonic(), reply)
        if alone or isinstance(reply, RoundReply):
            for path in self._folder.glob("*.reply"):
                path.unlink()
        if isinstance(reply, RoundReply):
            make_private(self._folder)
            write_whole(self._path(key), to_bytes(to_records(reply)))

    def _stored(self, path: Path) -> Reply | None:
        try:
            if time.time() - path.stat().st_mtime > self._lifetime:
                path.unlink()
                return None
            found = from_records(from_bytes(path.read_bytes()))
        except (OSError, RunError):
            return None
        return found if isinstance(found, RoundReply) else None

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{key.hex()}.reply"


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
