"""How the bytes of a message lie in Flower's object store: one object for a small one, for a large one its chunks too.

Flower itself makes three objects of the smallest message, and fetches, stores and announces each with a request of its
own. Here the head is an object with the message's name in it; what is small lies in it, and what is large in chunks,
which are the same objects in every message that has the same bytes: they are stored and sent once for all sites.
An object is `TYPE CHILDREN LENGTH`, a zero byte and its body, and is named by its SHA-256: Flower checks both.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from common.errors import RunError
from common.pause import Pause

CHUNK_BYTES = 5 << 20
SMALL_BYTES = 1 << 20
LARGEST_BYTES = 1 << 32
AT_ONCE = 2  # chunks on the way
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.5
HEAD, CHUNK = "Message", "ArrayChunk"  # types that Flower knows


@dataclass(frozen=True)
class Contents:
    """Bytes that are to be sent, to one site or to several. `chunks`: by name, empty for what is small."""

    data: bytes | bytearray = field(repr=False)
    order: tuple[str, ...]
    chunks: Mapping[str, memoryview] = field(repr=False)

    @classmethod
    def of(cls, data: bytes | bytearray) -> Contents:
        if len(data) <= SMALL_BYTES:
            return cls(data, (), {})
        parts = [memoryview(data)[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        order = tuple(_name(_start(CHUNK, (), len(part)), part) for part in parts)
        return cls(data, order, dict(zip(order, parts, strict=True)))


@dataclass(frozen=True)
class Parcel:
    """One message's objects: `key` names the head, and is the message's name."""

    key: str
    head: bytes = field(repr=False)
    contents: Contents = field(repr=False)

    @classmethod
    def of(cls, about: Iterable[object], contents: Contents) -> Parcel:
        """`about`: what makes this message another than every other one."""
        told = {"about": [str(item) for item in about], "size": len(contents.data), "chunks": contents.order}
        text = json.dumps(told).encode()
        body = len(text).to_bytes(4, "big") + text + (b"" if contents.order else contents.data)
        start = _start(HEAD, contents.chunks, len(body))
        return cls(_name(start, body), start + body, contents)

    @property
    def children(self) -> tuple[str, ...]:
        return tuple(self.contents.chunks)

    def object(self, name: str) -> bytes:
        """What is stored under a name."""
        if name == self.key:
            return self.head
        part = self.contents.chunks[name]
        return b"".join((_start(CHUNK, (), len(part)), part))


class Arriving:
    """A message whose objects are fetched as they come: it is announced before any of them is there."""

    def __init__(self, key: str, pull: Callable[[str], Any], largest: int = LARGEST_BYTES) -> None:
        """`key`: of the head. `pull`: Flower's answer about one object. `largest`: bytes of the message."""
        self._key, self._pull, self._largest = key, pull, largest
        self._order: list[str] | None = None  # of the chunks; None until the head is there
        self._missing: list[int] = []
        self._data = bytearray()
        self.since = time.monotonic()  # when the last object came

    def whole(self) -> bytearray | None:
        """The message's bytes; None while something is missing. RunError for what is no parcel, or was given up."""
        if self._order is None and not self._opened():
            return None
        with _threads() as pool:
            while self._missing:
                now, later = self._missing[:AT_ONCE], self._missing[AT_ONCE:]
                came = list(pool.map(self._take, now))
                self._missing = [place for place, here in zip(now, came, strict=True) if not here] + later
                if not all(came):
                    return None
        return self._data

    def awaited(self, stopped: threading.Event) -> bytearray:
        """`whole`, looked for again after a moment, and less and less often. RunError also when `stopped`."""
        pause = Pause(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while not stopped.is_set():
            before = self.since
            data = self.whole()
            if data is not None:
                return data
            stopped.wait(pause.anew() if self.since > before else pause.longer())
        raise RunError("Stopped while a message arrived.")

    def _opened(self) -> bool:
        body = self._object(self._key, HEAD)
        if body is None:
            return False
        size = int.from_bytes(body[:4], "big")
        try:
            told: dict[str, Any] = json.loads(bytes(body[4 : 4 + size]))
            whole, order = int(told["size"]), [str(name) for name in told["chunks"]]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise RunError("A message without its head: the other side has another release of wardround.") from None
        if order and not 0 < whole <= min(self._largest, len(order) * CHUNK_BYTES):
            raise RunError("A message whose head does not fit its contents.")
        self._order, self._missing = order, list(range(len(order)))
        self._data = bytearray(whole) if order else bytearray(body[4 + size :])
        return True

    def _take(self, place: int) -> bool:
        assert self._order is not None
        part, start = self._object(self._order[place], CHUNK), place * CHUNK_BYTES
        if part is None:
            return False
        if len(part) != min(CHUNK_BYTES, len(self._data) - start):
            raise RunError("A message with a chunk of another length.")
        self._data[start : start + len(part)] = part
        return True

    def _object(self, name: str, kind: str) -> memoryview | None:
        answer = self._pull(name)
        if not answer.object_found:
            raise RunError("A message whose contents the server does not have.")
        if not answer.object_available:
            return None
        self.since = time.monotonic()
        return _body(answer.object_content, kind)


def sent(
    parcels: Iterable[Parcel],
    wanted: Iterable[str],
    send: Callable[[str, bytes], bool],
    pull: Callable[[str], Any],
) -> None:
    """Give `send` each object that the server asked for, a few at a time, heads first: with them a message is news.

    RunError for one that the server waits for and does not take. It also does not take what it has, from a call whose
    answer was lost, and what is wanted no more; `pull`, Flower's answer about one object, tells these apart.
    """
    several = list(parcels)
    of_name = {parcel.key: parcel for parcel in several} | {
        name: parcel for parcel in several for name in parcel.children
    }
    missing = set(wanted)

    def place(name: str) -> None:
        if not send(name, of_name[name].object(name)) and is_awaited(pull(name)):
            raise RunError("Flower's server did not take a part of a message. Its log says why.")

    with _threads() as pool:
        list(pool.map(place, [name for name in of_name if name in missing]))


def is_awaited(answer: Any) -> bool:
    """Whether Flower's answer about one object says that it was announced, and has not come."""
    return bool(answer.object_found and not answer.object_available)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Who is interrupted, by Ctrl-C, waits for none of its calls: each may be patient with a server that is away."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _start(kind: str, children: Iterable[str], size: int) -> bytes:
    return f"{kind} {','.join(children)} {size}".encode() + b"\0"


def _name(start: bytes, body: bytes | memoryview) -> str:
    digest = hashlib.sha256(start)
    digest.update(body)
    return digest.hexdigest()


def _body(content: bytes, kind: str) -> memoryview:
    """RunError unless it is an object of this kind; its name was checked by the server."""
    start = content.find(b"\0", 0, 1 << 20)
    if start < 0 or content[: len(kind) + 1] != f"{kind} ".encode():
        raise RunError("A message that is not in a parcel: the other side has another release of wardround.")
    return memoryview(content)[start + 1 :]
