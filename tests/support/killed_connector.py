"""A connector as a process that is killed before or after one of its calls and writes, or does not get an answer."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import httpx

from client.network.connector import Connector
from client.network.fleet import Fleet
from client.relay import RelayClient
from common.network import flower_objects as parcels

CHUNK_BYTES = 300_000  # smaller than in earnest, so that the test is quick
IDLE = {"send-node-heartbeat"}
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])


@dataclass(frozen=True)
class Moment:
    """`number`: which one of the calls of this name in the process's life; `after`: it had its effect, or not."""

    name: str
    number: int
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.name} {self.number}"


@dataclass(frozen=True)
class Where:
    """What a connector is given."""

    address: str
    ca: bytes
    key: bytes
    socket: Path
    folder: Path


def start(
    where: Where, moment: Moment | None = None, seen: Path | None = None, *, lose: bool = False
) -> ForkServerProcess:
    """The connector, running, and killed at that moment; or, to `lose`, without the answer to that call.

    `seen`: where it writes the name of each of its calls.
    """
    process = _SERVER.Process(target=_run, args=(where, moment, seen, lose), daemon=True)
    process.start()
    return process


def smaller(module: Any = parcels) -> None:
    """Messages of a few hundred kilobytes have chunks."""
    module.CHUNK_BYTES, module.SMALL_BYTES = CHUNK_BYTES, CHUNK_BYTES // 3


def _run(where: Where, moment: Moment | None, seen: Path | None, lose: bool) -> None:
    smaller()
    watched = _Watched(moment, seen, lose)
    httpx.Client.send = watched.around(httpx.Client.send, lambda _, request, **__: request.url.path.rpartition("/")[2])
    os.fsync = watched.around(os.fsync, lambda _: "fsync")
    Path.replace = watched.around(Path.replace, lambda *_: "replace")
    Path.unlink = watched.around(Path.unlink, lambda *_, **__: "unlink")
    stopped = threading.Event()
    fleet = Fleet(where.address, where.ca, where.key, stopped=stopped)
    Connector(fleet, RelayClient(where.socket), where.folder, stopped).run()


class _Watched:
    def __init__(self, moment: Moment | None, seen: Path | None, lose: bool) -> None:
        self._moment, self._seen, self._lose = moment, seen, lose
        self._lock, self._count = threading.Lock(), Counter[str]()

    def around(self, call: Callable[..., Any], name_of: Callable[..., str]) -> Any:
        def watched(*given: Any, **named: Any) -> Any:
            name = name_of(*given, **named)
            if name in IDLE:
                return call(*given, **named)
            if name == "pull-messages":  # one that brings nothing changes nothing
                result = call(*given, **named)
                if result.content:
                    self._reached(name, self._counted(name), after=True)
                return result
            number = self._counted(name)
            self._reached(name, number, after=False)
            result = call(*given, **named)
            self._reached(name, number, after=True)
            return result

        return watched

    def _counted(self, name: str) -> int:
        with self._lock:
            self._count[name] += 1
            if self._seen is not None:
                with self._seen.open("a") as file:
                    file.write(name + "\n")
            return self._count[name]

    def _reached(self, name: str, number: int, *, after: bool) -> None:
        if self._moment != Moment(name, number, after):
            return
        if self._lose:
            raise httpx.ReadError("the line was cut")
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
