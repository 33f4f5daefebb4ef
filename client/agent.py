"""The agent: the process of a site that sees patients, and has no network.

It listens on a Unix socket, answers the requests of `common/messages.py` and nothing else, and keeps the study's cases,
network and accelerator warm between them. A study runs only as the site approved it: from the file kept at approval.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from client.activity import Activities
from client.handlers import SiteHandler
from client.relay import RelayServer
from client.round import Site
from client.site import SiteFolder
from common.audit import Audit, Refused
from common.errors import RunError, WardroundError
from common.messages import (
    JoinRequest,
    Refusal,
    RoundReply,
    RoundRequest,
    from_bytes,
    from_records,
    to_bytes,
    to_records,
)
from common.study import Study

log = logging.getLogger("wardround.site")

LARGEST_REQUEST = 2 << 30  # bytes; the weights of a model, and protocol messages

StudyOf = Callable[[str], Study]  # by digest; raises a WardroundError for one that is not approved here


class Agent:
    """One site. `handler`: makes what answers for one study."""

    def __init__(
        self, folder: SiteFolder, study_of: StudyOf, handler: Callable[[Site], SiteHandler] = SiteHandler
    ) -> None:
        self.folder, self._study_of, self._handler_of = folder, study_of, handler
        self.activities = Activities()
        self._warm: SiteHandler | None = None
        self._audit = Audit(self.state / "audit.jsonl")

    @property
    def state(self) -> Path:
        return self.folder.path(self.folder.file.state)

    def answer(self, data: bytes | bytearray) -> bytes:
        """One request and its reply, as bytes. Never raises: what goes wrong is a refusal with a public code."""
        try:
            records = from_bytes(data)
            request = from_records(records)
            handler = self._serving(request)
            self.activities.now("preparing data")
            reply = handler.reply(records)
            self.activities.now("masked" if isinstance(from_records(reply), RoundReply) else "idle")
            return to_bytes(reply)
        except WardroundError as error:
            log.warning("refused (%s): %s", error.code, error)
            return self._refuse(error.code)
        except Exception as error:
            # The text of a foreign exception may quote a patient's data: its kind and place are all that is logged.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error("failed with %s at %s, line %d", type(error).__name__, where.name, where.lineno or 0)
            return self._refuse("error")

    def _serving(self, request: object) -> SiteHandler:
        """The handler of the study that is asked for; of the one joined last, when the request does not name it.

        A round may come again after this process was killed: its answer is on disk, and no run was joined since.
        """
        asked = request.study if isinstance(request, JoinRequest) else ""
        if isinstance(request, RoundRequest) and self._warm is None:
            asked = request.plan.study
        if asked:
            study = self._study_of(asked)  # also for one that is warm: an approval may have been taken back since
            if self._warm is None or self._warm.site.study.digest != asked:
                self._warm = None  # the other study's cases and secrets go before this one's come
                self._warm = self._handler_of(Site(self.folder, study, self.state, self.activities))
        if self._warm is None:
            raise RunError("This site has joined no run since it started.")
        return self._warm

    def _refuse(self, code: str) -> bytes:
        self.activities.now("idle")
        try:
            self._audit.append(Refused("unreadable", code))
        except WardroundError as error:
            log.error("not recorded (%s): %s", error.code, error)
        return to_bytes(to_records(Refusal(code)))

    def serve(self, socket: Path) -> RelayServer:
        """Listen on the socket; the caller stops what it is given."""
        server = RelayServer(socket, self.answer, self.activities.reply, largest=LARGEST_REQUEST)
        server.start()
        return server
