"""Answers that a site gave in the present sum: the same request again gets the same bytes, and does no work twice."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from client.site import Policy
from common import schema as border
from common.disk.atomic_file import make_private, write_whole
from common.errors import RunError
from common.identity.encoding import digest, encode, number
from common.messages import Reply, Request, RoundReply, from_records, to_records
from common.plan import RoundPlan
from common.record_bytes import from_bytes, to_bytes


class Replies:
    """By the digest of the request. They are gone `lifetime` seconds after they were given, or when others are kept.

    What was answered under another policy is not found: it may be more than the present one allows.
    A masked vector is on disk as well, in `state`: it costs a round's training, and a privacy charge, to make. To
    everyone it is random numbers. What was revealed is not: it stays in memory, and is lost with it.
    """

    def __init__(self, lifetime: float, state: Path, policy: Policy) -> None:
        self._lifetime, self._folder, self._policy = lifetime, _folder(state), border.digest(policy)
        self._kept: dict[bytes, tuple[float, Reply]] = {}

    def find(self, request: Request) -> Reply | None:
        """The answer that this very request was given before, also before a crash."""
        now, key = time.monotonic(), self._key(request)
        self._kept = {key: kept for key, kept in self._kept.items() if now - kept[0] < self._lifetime}
        kept = self._kept.get(key)
        return kept[1] if kept else self._stored(self._path(key))

    def keep(self, request: Request, reply: Reply, *, alone: bool = False) -> None:
        """`alone`: the sum is over, its other answers are forgotten."""
        if alone:
            self._kept.clear()
        key = self._key(request)
        self._kept[key] = (time.monotonic(), reply)
        if isinstance(reply, RoundReply):
            make_private(self._folder)
            write_whole(self._path(key), to_bytes(to_records(reply)))
            _remove(self._folder, but=self._path(key))
        elif alone:
            _remove(self._folder)

    def _stored(self, path: Path) -> Reply | None:
        try:
            if _age(path) > self._lifetime:
                return None
            found = from_records(from_bytes(path.read_bytes()))
        except (OSError, RunError):
            return None
        return found if isinstance(found, RoundReply) else None

    def _key(self, request: Request) -> bytes:
        values = (_bytes(getattr(request, item.name)) for item in fields(request))
        return digest(type(request).__name__, self._policy.encode(), *values)

    def _path(self, key: bytes) -> Path:
        return self._folder / f"{key.hex()}.reply"


def remove_expired(state: Path, lifetime: float) -> None:
    """Delete the stored answers of this site that are older than so many seconds."""
    _remove(_folder(state), older=lifetime)


def _folder(state: Path) -> Path:
    return state / "replies"


def _remove(folder: Path, *, but: Path | None = None, older: float = float("-inf")) -> None:
    """Also what a kill left half written."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path != but and _age(path) > older:
            path.unlink()


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _bytes(value: Any) -> bytes:
    if isinstance(value, RoundPlan):
        return value.digest
    if isinstance(value, tuple):
        return encode(*(_bytes(item) for item in value))
    if isinstance(value, str):
        return value.encode()
    return number(value) if isinstance(value, int) else bytes(value)
