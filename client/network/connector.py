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
import traceback
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx

from client.network.fleet import Fleet, Letter, reason
from client.network.inbox import Inbox
from client.relay import RelayClient
from common.disk.atomic_file import write_whole
from common.errors import IdentityError, RunError, SiteFailedError
from common.messages import FIRST, MESSAGE_TYPES, ActivityRequest, Refusal, answered_in, to_records
from common.record_bytes import from_bytes, to_bytes

log = logging.getLogger("wardround.connector")

# How often the server is asked for messages, by the seconds since the last one: fast while the legs of a round follow
# each other, slowly while other sites still work, or this one does, and rarely between two runs.
LOOKS = ((5.0, 0.1), (60.0, 0.5))
WORKING_LOOK_SECONDS, IDLE_LOOK_SECONDS = 1.0, 2.0
DISK_SECONDS = 30.0  # before a message that could not be kept, and may be large, is fetched again
AGENT_SECONDS = 120.0  # how long an agent that does not answer is waited for; it is started again much sooner
WORKED_SECONDS, TRIES = 5.0, 3  # one that is lost so long after it was asked ends over its work: so often at most
BEAT_SECONDS, AGAIN_SECONDS = 10.0, 2.0
WARN_AGAIN_SECONDS = 60.0  # before the same line is logged again
NODE_FILE = "node.id"  # Flower's number of this node, to be let in again after a crash


class Connector:
    """Runs until `stop`. `fleet`: makes the connection, with the event that ends it."""

    def __init__(self, fleet: Fleet, relay: RelayClient, folder: Path, stopped: threading.Event) -> None:
        self._fleet, self._relay, self._stopped = fleet, relay, stopped
        self._inbox, self._node_file = Inbox(folder / "inbox"), folder / NODE_FILE
        self._work: queue.Queue[Letter] = queue.Queue()
        self._last = float("-inf")
        self._busy, self._woken = threading.Event(), threading.Event()
        self._arriving = False  # a message, when it was told to stop
        self._warned: dict[str, float] = {}  # what was logged, and when
        self._failed = ""  # which of the threads did, and how

    def run(self) -> None:
        """Serve until stopped. IdentityError when the coordinator does not know this site's key.

        RunError when one of its threads ended: it is for whoever started this process to start it again.
        """
        self._activate()
        for letter in self._inbox.waiting():
            self._work.put(letter)
        for target in (self._carry, self._beat):
            threading.Thread(target=self._guarded, args=(target,), name=target.__name__, daemon=True).start()
        while not self._stopped.is_set():
            self._look()
        if self._inbox.is_empty and not self._arriving:
            self._fleet.leave()  # else it is expected back: a run gives up at once what a site that left was asked
        if self._failed:
            raise RunError(self._failed)

    def _guarded(self, target: Callable[[], None]) -> None:
        """A thread's death is the connector's: without it the site would seem to be there."""
        try:
            target()
        except Exception as error:
            if not self._stopped.is_set():
                where = traceback.extract_tb(error.__traceback__)[-1]
                self._failed = f"The connector failed: {type(error).__name__} at {where.name}, line {where.lineno}."
            self._stopped.set()

    def _activate(self) -> None:
        before = self._node_file.read_text(encoding="ascii") if self._node_file.exists() else ""
        node = self._fleet.activate(int(before) if before.isdigit() else 0)
        write_whole(self._node_file, str(node).encode("ascii"))
        log.info("connected as node %d", node)

    def _look(self) -> None:
        try:
            letter = self._fleet.pull()
            if letter is not None:
                self._last = time.monotonic()
                self._take(letter)
                return
        except (httpx.HTTPError, RunError, ValueError, OSError) as error:
            # The server is away, or the run that asked has ended meanwhile; or the disk is full, and it is given again.
            self._arriving = self._stopped.is_set()
            self._warn(f"a message was not taken ({reason(error)})")
            self._stopped.wait(DISK_SECONDS if isinstance(error, OSError) else IDLE_LOOK_SECONDS)
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
            self._fleet.push(letter, to_bytes(to_records(self._relay.activity(), _number(letter.data))), 0.0)
            return
        if letter not in self._inbox:  # else it came again, because it was not confirmed
            self._inbox.keep(letter)
            self._work.put(letter)
        self._fleet.confirm(letter)

    def _carry(self) -> None:
        """One letter after the other, as the agent takes them."""
        while not self._stopped.is_set():
            letter = self._work.get()
            self._busy.set()
            try:
                self._answer(letter)
            except (httpx.HTTPError, RunError, ValueError) as error:
                if self._stopped.is_set():
                    return  # it stays in the inbox
                log.warning("a reply could not be sent (%s); the coordinator goes on without it", reason(error))
                self._inbox.done(letter)
            finally:
                self._last = time.monotonic()
                self._busy.clear()
                self._woken.set()  # the next leg follows closely

    def _answer(self, letter: Letter) -> None:
        began = time.monotonic()
        reply = self._reply(letter.data)
        if reply is not None:
            self._fleet.push(letter, reply, time.monotonic() - began)
            self._inbox.done(letter)

    def _reply(self, request: bytes | bytearray) -> bytes | bytearray | None:
        """The agent's, also when it was started again meanwhile; a refusal when there is none. None when stopped."""
        tries, silent = 0, time.monotonic()
        while not self._stopped.is_set():
            asked = time.monotonic()
            reply = self._asked(request)
            if reply is not None:
                return reply
            if time.monotonic() - asked > WORKED_SECONDS:
                tries, silent = tries + 1, time.monotonic()
            if tries == TRIES or time.monotonic() - silent > AGENT_SECONDS:
                return to_bytes(to_records(Refusal(SiteFailedError.code), _number(request)))
            self._stopped.wait(1.0)
        return None

    def _asked(self, request: bytes | bytearray) -> bytes | bytearray | None:
        try:
            return self._relay.answer(request)
        except grpc.RpcError as error:
            self._warn(f"the agent did not answer ({_status(error)})")
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
                self._warn(f"no sign of life could be sent ({reason(error)})")
            except IdentityError as error:
                self._warn(str(error))

    def _warn(self, text: str) -> None:
        """Once in so many seconds: a site that was removed is turned away every two, for as long as it calls."""
        now = time.monotonic()
        if now - self._warned.get(text, float("-inf")) >= WARN_AGAIN_SECONDS:
            self._warned[text] = now
            log.warning("%s", text)


def _number(request: bytes | bytearray) -> int:
    """The protocol in which a request is answered; the first one for what is none."""
    try:
        return answered_in(from_bytes(request))
    except RunError:
        return FIRST


def _status(error: grpc.RpcError) -> str:
    code: Callable[[], grpc.StatusCode] | None = getattr(error, "code", None)
    return code().name if code else "lost"
