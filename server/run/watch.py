"""What is true of each site, for whoever asks while a run goes on: one file, written anew every few seconds.

    not connected < connected < study approved < data checked < training, scoring, masking … < dropped (why)

A site's own word on what it does comes from a closed list (`ACTIVITIES`), with the age of its last sign of life.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from common.disk.atomic_file import BY_UMASK, whole_file
from common.errors import RunError, WardroundError
from common.format_number import take_format
from common.messages import (
    MESSAGE_TYPES,
    ActivityReply,
    ActivityRequest,
    OtherProtocolError,
    activity_in,
    to_records,
)
from common.release import OF_0_1
from server.flower.control import Node, Nodes, by_site
from server.flower.grid import FleetGrid
from server.lost import Lost, Silence
from server.report.evidence import RoundEvidence
from server.run.exchange import Asked
from server.run.run_folder import player_of

STATUS_FILE, STATUS_FORMAT = "status.json", 1
LOOK_SECONDS = 5.0
MOST_NAMES = 8  # of sites in a line
MADE_BY_0_1 = f"made by 0.1 and not ended: start it as a new run, because {OF_0_1.removesuffix('.')}"
Said = ActivityReply | OtherProtocolError
GO_ON = "continue it with `wardround resume`"
KILLED, STOPPED = f"its process was killed; {GO_ON}", f"it was stopped; {GO_ON}"
NOT_LOOKED_AT = "not looked at yet"
ASK_OTHERS = "Ask the others to start `wardround site up`"
TELL_SECONDS = 10.0  # that one thing lasts before the terminal is told; then after twice as long, and so on


@dataclass(frozen=True)
class SiteStatus:
    """One site, as it was when the file was written: `state` in words, steps done of a total, seconds since the state
    began, and since a sign of life.
    """

    state: str
    done: int = 0
    total: int = 0
    seconds: int = 0
    seen: float | None = None


@dataclass
class RunStatus:
    """The run as a whole; `since` and `written` are Unix times, `flower` is the run's number at the SuperLink."""

    run: str
    study: str
    process: Annotated[int, Field(strict=True, gt=0)]
    doing: str = "starting"
    round: int = -1
    rounds: int = 0
    since: float = field(default_factory=time.time)
    written: float = 0.0
    looked: float = 0.0  # when the sites were looked at last, also Unix time; 0 where that is not known apart
    ended: str = ""  # "completed", or why not
    finished: int = -1  # the round after which it was finished with a report; less where it was not
    before: str = ""  # why it had ended, while it was resumed and no sum was begun since
    asked: bool = False  # whether a sum was begun, for which sites may have charged; not kept by older releases
    flower: int = 0
    chosen: list[str] = field(default_factory=list)  # the sites that the run was begun with; empty: all there were
    sites: dict[str, SiteStatus] = field(default_factory=dict)
    format: int = STATUS_FORMAT

    def write(self, path: Path) -> None:
        """As of now: whole or not at all, and brought to the disk first, for a loss of power leaves a file too."""
        self.written = time.time()
        self.keep(path)

    def keep(self, path: Path) -> None:
        """The same, as of when it was."""
        with whole_file(path, BY_UMASK) as draft:
            draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @property
    def reason(self) -> str:
        """Why the run ended after its last sum: a resume that came to none is not why."""
        return self.before or self.ended

    @property
    def seen(self) -> float:
        """The Unix time that the ages in `sites` are of."""
        return self.looked or self.written


_STATUS = TypeAdapter(RunStatus)


def read_status(path: Path) -> RunStatus:
    """From the run's folder; a run whose process is gone says so. RunError if there is none."""
    status = stored_status(path)
    if status is None:
        raise RunError(
            f"{path}: there is no status of a run that can be read. Look at the name; `wardround run` starts one, and "
            "one that was begun goes on from its checkpoint (`wardround resume`), or is finished from it."
        )
    if not status.ended and player_of(path.parent) != status.process:
        status.ended = KILLED if status.format else MADE_BY_0_1
    return status


def stored_status(path: Path) -> RunStatus | None:
    """Return what a run's status says as it was written, or None where there is none, or none that is whole. RunError
    for that of a newer release.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = take_format(values, STATUS_FORMAT, str(path), RunError)
        return _STATUS.validate_python(values | {"format": number})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def resumed_status(status: RunStatus, left: RunStatus | None) -> RunStatus:
    """Return the status of a run that goes on: what is known of it and its sites holds until something is begun."""
    if left is None or left.study != status.study:
        return status
    kept = {name: left.sites.get(name, site) for name, site in status.sites.items()}
    status.run, status.round, status.finished, status.sites = left.run, left.round, left.finished, kept
    status.looked = left.seen
    status.before = left.reason
    return status


def mark_finished(path: Path, run: str, after: int, why: str) -> None:
    """Keep in the status of this run, if it has one, that it was finished after this round, and why it had ended."""
    with suppress(RunError, OSError):
        status = stored_status(path)
        if status is not None and status.run in ("", run):
            status.ended, status.before, status.finished = why, "", after
            status.keep(path)  # nobody has looked at the sites since


def left_in(path: Path) -> RunStatus | None:
    """Return what a run's process left in its status; None where there is none that can be read. RunError for that of a
    newer release.
    """
    return None if stored_status(path) is None else read_status(path)


class Watch:
    """An observer of the run that asks the sites in the background. Use as a context manager."""

    def __init__(self, status: RunStatus, path: Path) -> None:
        self.status, self._path, self._one = status, path, threading.Lock()
        self.dropped: Callable[[], Mapping[str, Lost]] = dict  # site -> why, of the last sum
        self.joined: Callable[[], Collection[str]] = tuple  # sites that approved the study and read their data
        self.tell: Callable[[str], None] = lambda text: None  # whoever sits at the terminal
        self.limit = 0.0  # seconds that one thing may last; 0 if that is not known
        self._due = TELL_SECONDS

    def __enter__(self) -> Watch:
        self._write()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.status.ended = "completed" if kind is None else why_of(error)
        self._write()

    def _write(self) -> None:
        """One thread at a time: the run's and the one that asks share the file's draft. A full disk ends no run here:
        its checkpoint does.
        """
        with self._one, suppress(OSError):
            self.status.write(self._path)

    # --------------------------------------------------------------------------------- an observer (server/run/run.py)

    def doing(self, what: str) -> None:
        self.status.doing, self.status.since = what, time.time()
        self._due = TELL_SECONDS
        self._write()

    def begun(self) -> None:
        """A sum is announced: from then on sites may charge for it, and the run has ended for no earlier reason."""
        status = self.status
        known = (status.before, status.finished, status.asked) == ("", -1, True)
        status.before, status.finished, status.asked = "", -1, True
        if not known:
            self._write()

    def told(self, sentence: str) -> None:
        """What a person should know is said at the terminal and in the report, not here."""

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        self.status.round, self.status.rounds = evidence.round, rounds
        self._write()

    # ------------------------------------------------------------------------------------------------- behind the run

    @contextmanager
    def asking(self, grid: FleetGrid, nodes: Nodes, keys: Mapping[str, bytes]) -> Iterator[None]:
        """Ask the sites what they do, until the block ends. `keys`: of the sites of this run."""
        stopped = threading.Event()
        asks = threading.Thread(target=self._looking, args=(grid, nodes, keys, stopped), name="status", daemon=True)
        asks.start()
        try:
            yield
        finally:
            stopped.set()
            asks.join(LOOK_SECONDS)
            self._name_dropped()

    def _name_dropped(self) -> None:
        """Whom the last sum lost since the last look."""
        for site, why in self.dropped().items():
            before = self.status.sites.get(site, SiteStatus(""))
            self.status.sites[site] = SiteStatus(f"dropped: {why.words}", seen=before.seen)

    def _looking(self, grid: FleetGrid, nodes: Nodes, keys: Mapping[str, bytes], stopped: threading.Event) -> None:
        while not stopped.is_set():
            with suppress(Exception):  # whatever is in the way, as a server that is away: the file's age says so
                there = by_site(nodes.listed(), keys)
                said = self._ask(grid, [node.node for node in there.values() if node.online], stopped)
                dropped, joined = self.dropped(), self.joined()
                self.status.sites = {
                    site: _status_of(there.get(site), said, dropped.get(site), ready=site in joined) for site in keys
                }
                self.status.looked = time.time()
                self._write()
                self.tell_waiting(time.time())
            stopped.wait(LOOK_SECONDS)

    def tell_waiting(self, now: float) -> None:
        """A line now and then while one thing lasts: what it is, since when and until when, and who does what."""
        lasts = now - self.status.since
        if lasts < self._due:
            return
        self._due = 2 * lasts
        states: dict[str, list[str]] = {}
        for name, site in sorted(self.status.sites.items()):
            states.setdefault(re.split("[:;,]", site.state)[0], []).append(name)
        told = "; ".join(f"{what}: {listed(names)}" for what, names in states.items())
        ends = f", until {clock(self.status.since + self.limit)} at the latest" if self.limit else ""
        self.tell(f"{self.status.doing}, for {lasts:.0f} s{ends}: {told}")

    def _ask(self, grid: FleetGrid, nodes: Sequence[int], stopped: threading.Event) -> dict[int, Said]:
        """Who answers within the time between two looks. Questions of before that are answered late are forgotten."""
        request = ActivityRequest(self.status.run)
        kind = MESSAGE_TYPES[ActivityRequest]
        messages = {node: grid.create_message(to_records(request), kind, node, "", ttl=60.0) for node in nodes}
        asked = Asked(grid, messages)
        said: dict[int, Said] = {}
        ends = time.monotonic() + LOOK_SECONDS
        while not asked.all_came and time.monotonic() < ends and not stopped.wait(0.3):
            for node, message in asked.look().items():
                reply = None if message.has_error() else activity_in(message.content)
                if reply is not None:
                    said[node] = reply
        return said


def listed(names: Sequence[str]) -> str:
    """The first few of these, and how many more."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def clock(moment: float) -> str:
    """A Unix time as this machine's clock shows it."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def _status_of(node: Node | None, said: Mapping[int, Said], dropped: Lost | None, *, ready: bool = False) -> SiteStatus:
    if node is None:
        return SiteStatus("not enrolled at the server")
    seen = max(0.0, time.time() - (node.online_until - 2 * node.interval)) if node.online_until else None
    if not node.online:
        return SiteStatus("not connected" if seen is not None else "enrolled, never connected", seen=seen)
    reply = said.get(node.node)
    if isinstance(reply, OtherProtocolError):
        unsaid = "connected, does not say what it does"
        return SiteStatus(Silence(reply.in_short).words if reply.in_short else unsaid, seen=seen)
    if dropped is not None:
        return SiteStatus(f"dropped: {dropped.words}", seen=seen)
    if reply is None:
        return SiteStatus("connected, does not say what it does", seen=seen)
    state = reply.state
    if state == "idle":
        state = "study approved, data checked; waits" if ready else "connected; waits to be asked"
    return SiteStatus(state, reply.done, reply.total, reply.seconds, seen)


def why_of(error: BaseException | None) -> str:
    """Return why a run ended, of the error that ended it: in its own words, or the kind of one that is not ours."""
    if isinstance(error, KeyboardInterrupt | GeneratorExit):  # a second Ctrl-C closes what the first one was to end
        return STOPPED
    return str(error) if isinstance(error, WardroundError) else type(error).__name__


def this_process() -> int:
    """For `wardround stop`."""
    return os.getpid()
