"""A worker process of the in-process grid: it holds some sites, warm, and answers for them one message at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from common.study import Study
from deploy.research.simulation.forks import end_with_control_c


@dataclass(frozen=True)
class SitePlace:
    """A simulated site: its folder, and where this run keeps its ledger and numbers."""

    folder: Path
    state: Path


@dataclass(frozen=True)
class Watched:
    """What a site is doing, for whoever looks at the simulation."""

    node: int
    what: str
    done: int
    total: int


def serve(pipe: Connection, study: Study, places: Mapping[int, SitePlace], log: Path) -> None:
    """Answer messages until the pipe closes. `places`: node -> the site that this worker plays."""
    import torch

    from client.agent.handlers import SiteHandler
    from client.round.session import Site
    from client.site import read_site

    torch.set_num_threads(1)
    end_with_control_c()
    _log_to(log)
    handlers: dict[int, SiteHandler] = {}
    while True:
        try:
            node, message = pipe.recv()
        except (EOFError, OSError):
            return
        if node not in handlers:
            place = places[node]
            site = Site(read_site(place.folder), study, place.state, _Teller(pipe, node))
            handlers[node] = SiteHandler(site)
        reply = handlers[node](message)
        try:
            pipe.send(reply)
        except OSError:  # whoever asked was killed: a trace would be all that its terminal shows of it
            return


class _Teller:
    """Passes progress on, a few times a second at most."""

    def __init__(self, pipe: Connection, node: int) -> None:
        self._pipe, self._node, self._last = pipe, node, 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last > 0.25 or done == total:
            self._last = now
            with suppress(OSError):  # nobody watches any more
                self._pipe.send(Watched(self._node, what, done, total))


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("wardround")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
