"""The agent: the process of a site that sees patients, and has no network.

It listens on a Unix socket, answers the requests of `common/messages.py` and nothing else, and keeps the study's cases,
network and accelerator warm between them. A study runs only as the site approved it: from the file kept at approval.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock

from client.agent.activity import Activities
from client.agent.handlers import SiteHandler
from client.agent.lease import Lease
from client.agent.log_line import in_a_line
from client.agent.replies import remove_expired
from client.agent.retention import purge_old
from client.agent.secure_sum import LIFETIME_SECONDS
from client.consent.approvals import approved_study
from client.consent.current import CurrentSite
from client.membership.identity import ROSTER_FILE
from client.relay import RelayServer
from client.round.failures import place_of
from client.round.gate import Gate
from client.round.session import Site
from client.site import SiteFolder
from common.disk.audit import AUDIT_FILE, Audit, Refused
from common.disk.audit_events import REQUEST_KINDS, UNREADABLE
from common.errors import RunError, WardroundError
from common.messages import (
    FIRST,
    JoinRequest,
    Refusal,
    Reply,
    Request,
    RoundReply,
    RoundRequest,
    answered_in,
    from_records,
    refusal_for,
)
from common.record_bytes import LARGEST_HEAD, from_bytes, head_bytes, to_bytes
from common.study import Study

log = logging.getLogger("wardround.site")

LARGEST_REQUEST = 2 << 30  # bytes, of a study whose network was not built yet
STATISTICS_BYTES = 8 << 20  # the normaliser of any study
TIDY_SECONDS = 3600.0  # from one look for what is past its time to the next


def _opened(study: Study) -> int:
    """The most numbers that a plan names of an inquiry's sums before it."""
    several = study.inquiries.values()
    each = (one.sums * sum(part.length for part in one.segments(study.modalities, 1.0)) for one in several)
    return max(each, default=0)


def with_gate(site: Site) -> SiteHandler:
    """What answers for one study, held against policy and approvals."""
    return SiteHandler(site, gate=Gate(site))


class Agent:
    """One site. `handler`: makes what answers for one study."""

    def __init__(self, folder: SiteFolder, handler: Callable[[Site], SiteHandler] = with_gate) -> None:
        self._current, self._handler_of = CurrentSite(folder), handler
        self.activities = Activities()
        self._working = Lock()  # one thread at a time has what is warm
        self._warm: SiteHandler | None = None
        self._answered = time.monotonic()
        self._lease = Lease()
        self._audit = Audit(self.state / AUDIT_FILE)

    @property
    def folder(self) -> SiteFolder:
        """As it was looked at last."""
        return self._current.folder

    @property
    def state(self) -> Path:
        return self.folder.path(self.folder.file.state)

    def answer(self, data: bytes | bytearray) -> bytes:
        """One request and its reply, as bytes. Never raises: what goes wrong is a refusal with a public code."""
        kind, protocol = UNREADABLE, FIRST
        with self._working:
            try:
                records = from_bytes(data, head_bytes(self._sites))
                protocol = answered_in(records)
                request = from_records(records)
                kind = _kind(request)
                self._look()
                if isinstance(request, JoinRequest):
                    self._lease.require(request)
                handler, began = self._serving(request), time.monotonic()
                self.activities.hush(handler.site.study.private)
                self.activities.now("preparing data")
                reply = handler.reply(records)
                self._note(request, from_records(reply), handler, time.monotonic() - began)
                if isinstance(request, JoinRequest):
                    _ = handler.site.parameters  # by the network's size what comes next is bounded
                return to_bytes(reply)
            except WardroundError as error:
                log.warning("%s: refused (%s, %s): %s", kind, type(error).__name__, error.code, error)
                return self._refuse(kind, error, protocol)
            except Exception as error:
                # The text of a foreign exception may quote a patient's data: its kind and place are all that is logged.
                log.error("%s: failed with %s at %s", kind, type(error).__name__, place_of(error))
                return self._refuse(kind, WardroundError(), protocol)

    @property
    def _sites(self) -> int:
        """How many sites the roster that is pinned here has, at most: each has a key of 64 digits in it."""
        roster = self.state / "identity" / ROSTER_FILE
        return roster.stat().st_size // 64 if roster.exists() else 0

    def largest(self) -> int:
        """Bytes of the largest request that there can be now: the weights of the study's network, and a head."""
        warm = self._warm
        if warm is None or "parameters" not in vars(warm.site):
            return LARGEST_REQUEST
        return 4 * warm.site.parameters.length + 8 * _opened(warm.site.study) + STATISTICS_BYTES + LARGEST_HEAD

    def _look(self) -> None:
        """What is warm was made under the policy as it was. Under another one it is made anew, as after a restart."""
        before = self._current.folder
        if self._current.look() is not before:
            self._forget()

    def _forget(self) -> None:
        """Erase the secrets of what is warm, and let its cases go."""
        if self._warm is not None:
            self._warm.sums.forget()
        self._warm = None

    def _serving(self, request: Request | Reply) -> SiteHandler:
        """The handler of the study that is asked for; of the one joined last, when the request does not name it.

        A round may come again after this process was killed: its answer is on disk, and no run was joined since.
        """
        asked = request.study if isinstance(request, JoinRequest) else ""
        if isinstance(request, RoundRequest) and self._warm is None:
            asked = request.plan.study
        if asked:
            study = self._approved(asked)  # also for one that is warm: an approval may have been taken back since
            if self._warm is None or self._warm.site.study.digest != asked:
                self._forget()  # the other study's cases and secrets go before this one's come
                self._warm = self._handler_of(Site(self.folder, study, self.state, self.activities))
        if self._warm is None:
            raise RunError("This site has joined no run since it started, or since its policy was changed.")
        return self._warm

    def _approved(self, digest: str) -> Study:
        return approved_study(self.state, digest, asked=self.folder.file.policy.approval == "required")

    def _note(self, request: Request | Reply, reply: Request | Reply, handler: SiteHandler, seconds: float) -> None:
        self._lease.answered(request, reply, handler.site.study)
        log.info("%s", in_a_line(request, reply, handler.run, handler.site.study, seconds))
        if not isinstance(reply, Refusal):
            self._answered = time.monotonic()
        self.activities.now("masked" if isinstance(reply, RoundReply) else "idle")

    def _refuse(self, kind: str, why: WardroundError, protocol: int) -> bytes:
        self.activities.now("idle")
        try:
            self._audit.append(Refused(kind, why.code))
        except WardroundError as error:
            log.error("not recorded (%s): %s", error.code, error)
        return to_bytes(refusal_for(why, protocol))

    def serve(self, socket: Path) -> RelayServer:
        """Listen on the socket; the caller stops what it is given."""
        server = RelayServer(socket, self.answer, self.activities.reply, largest=self.largest)
        server.start()
        return server

    # ---------------------------------------------------------------------------------------------------- retention

    def keep_tidy(self, stopped: Event, every: float = TIDY_SECONDS) -> None:
        """Delete what is past its time, now and so many seconds apart, until stopped."""
        self.tidy()
        while not stopped.wait(every):
            self.tidy()

    def tidy(self) -> None:
        """Delete what is past its time, once the request that is being answered is. Never raises: the log tells."""
        with self._working:
            try:
                self._forget_unused()
                remove_expired(self.state, LIFETIME_SECONDS)
                self._look()
                purge_old(self.state, self.folder.file.policy.retention_days)
            except WardroundError as error:
                log.warning("what is past its time was not deleted (%s): %s", error.code, error)
            except Exception as error:
                log.error("deleting what is past its time failed with %s at %s", type(error).__name__, place_of(error))

    def _forget_unused(self) -> None:
        """Cases that nobody may ask for, or asked for in the time that a sum may take, need not be in memory."""
        if self._warm is None:
            return
        try:
            self._approved(self._warm.site.study.digest)
            unused = time.monotonic() - self._answered > LIFETIME_SECONDS
        except WardroundError:
            unused = True
        if unused:
            self._forget()


def _kind(request: Request | Reply) -> str:
    kind = type(request).__name__
    return kind if kind in REQUEST_KINDS else UNREADABLE
