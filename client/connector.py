"""The connector: the process of a site that is on the network, and sees no patient.

It has the node key and the agent's socket, and nothing else: it carries the coordinator's messages to the agent and the
agent's replies back. A message is on disk before the server forgets it, and stays until its reply is with the server:
after a crash on either side the agent is asked again, and gives the same bytes.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx

from client.fleet import Fleet, Letter
from client.inbox import Inbox
from client.relay import RelayClient
from common.errors import IdentityError, RunError, SiteFailedError
from common.messages import MESSAGE_TYPES, ActivityRequest, Refusal, to_bytes, to_records

log = logging.getLogger("wardround.connector")

# How often the server is asked for messages, by the seconds since the last one: fast while the legs of a round follow
# each other, slowly while other sites still work, or this one does, and rarely between two runs.
LOOKS = ((5.0, 0.1), (60.0, 0.5))
WORKING_LOOK_SECONDS, IDLE_LOOK_SECONDS = 1.0, 2.0
AGENT_SECONDS = 120.0  # how long an agent that does not answer is waited for; it is started again much sooner
BEAT_SECONDS, AGAIN_SECONDS = 10.0, 2.0
NODE_FILE = "node.id"  # Flower's number of this node, to be let in again after a crash


class Connector:
    """Runs until `stop`. `fleet`: makes the connection, with the event that ends it."""

    def __init__(self, fleet: Fleet, relay: RelayClient, folder: Path, stopped: threading.Event) -> None:
        self._fleet, self._relay, self._stopped = fleet, relay, stopped
        self._inbox, self._node_file = Inbox(folder / "inbox"), folder / NODE_FILE
        self._work: queue.Queue[Letter] = queue.Queue()
        self._last = float("-inf")
        self._busy, self._woken = threading.Event(), threading.Event()

    def run(self) -> None:
        """Serve until stopped. IdentityError when the coordinator does not know this site's key."""
        self._activate()
        for target in (self._carry, self._beat):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        for letter in self._inbox.waiting():
            self._work.put(letter)
        while not self._stopped.is_set():
            self._look()
        self._fleet.leave()

    def _activate(self) -> None:
        before = self._node_file.read_text(encoding="ascii") if self._node_file.exists() else ""
        node = self._fleet.activate(int(before) if before.isdigit() else 0)
        self._node_file.write_text(str(node), encoding="ascii")
        log.info("connected as node %d", node)

    def _look(self) -> None:
        try:
            letter = self._fleet.pull()
            if letter is not None:
                self._last = time.monotonic()
                self._take(letter)
                return
        except (httpx.HTTPError, RunError, ValueError, OSError) as error:
            # The server is away, or the run that asked has ended meanwhile.
            log.warning("a message was not taken (%s)", type(error).__name__)
            self._stopped.wait(IDLE_LOOK_SECONDS)
            return
        if self._pause() >= IDLE_LOOK_SECONDS or not self._fleet.waits:  # else the server keeps the next look for us
            self._woken.wait(self._pause())
            self._woken.clear()

    def _pause(self) -> float:
        if self._busy.is_set():
            return WORKING_LOOK_SECONDS
        age = time.monotonic() - self._last
        return next((pause for limit, pause in LOOKS if age < limit), IDLE_LOOK_SECONDS)

    def _take(self, letter: Letter) -> None:
        if letter.kind == MESSAGE_TYPES[ActivityRequest]:
            self._fleet.confirm(letter)
            self._fleet.push(letter, to_bytes(to_records(self._relay.activity())), 0.0)
            return
        self._inbox.keep(letter)
        self._work.put(letter)
        self._fleet.confirm(letter)

    def _carry(self) -> None:
        """One letter after the other, as the agent takes them."""
        while True:
            letter = self._work.get()
            self._busy.set()
            try:
                self._answer(letter)
            except (httpx.HTTPError, RunError, ValueError) as error:
                log.warning("a reply could not be sent (%s); the coordinator goes on without it", type(error).__name__)
                self._inbox.done(letter)
            finally:
                self._last = time.monotonic()
                self._busy.clear()
                self._woken.set()  # the next leg follows closely

    def _answer(self, letter: Letter) -> None:
        began, silent = time.monotonic(), None
        while not self._stopped.is_set():
            reply = self._asked(letter.data)
            silent = silent or time.monotonic()
            if reply is None and time.monotonic() - silent < AGENT_SECONDS:
                self._stopped.wait(1.0)
                continue
            if reply is None:
                reply = to_bytes(to_records(Refusal(SiteFailedError.code)))
            self._fleet.push(letter, reply, time.monotonic() - began)
            self._inbox.done(letter)
            return

    def _asked(self, request: bytes | bytearray) -> bytes | bytearray | None:
        try:
            return self._relay.answer(request)
        except grpc.RpcError as error:
            log.warning("the agent did not answer (%s)", _status(error))
            return None

    def _beat(self) -> None:
        """Soon again when it failed: a server that was away holds a site for lost until it hears of it."""
        pause = BEAT_SECONDS
        while not self._stopped.wait(pause):
            pause = AGAIN_SECONDS
            try:
                if not self._fleet.beat():
                    self._activate()
                pause = BEAT_SECONDS
            except httpx.HTTPError as error:
                log.warning("no sign of life could be sent (%s)", type(error).__name__)
            except IdentityError as error:
                log.error("%s", error)


def _status(error: grpc.RpcError) -> str:
    code: Callable[[], grpc.StatusCode] | None = getattr(error, "code", None)
    return code().name if code else "lost"
