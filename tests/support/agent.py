"""A site's agent: enrolled, a study approved, listening on its socket, and asked as a connector would ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.agent.agent import Agent, with_gate
from client.agent.handlers import SiteHandler
from client.consent.approvals import Approvals
from client.membership.identity import SiteIdentity
from client.relay import RelayClient
from client.round.session import Site
from client.site import read_site
from common.messages import JoinRequest, Refusal, Reply, Request, from_records, to_records
from common.record_bytes import from_bytes, to_bytes
from common.study import Study, read_study
from tests.support.deployment import Process, Wrap, wait_for
from tests.support.enrol_all import enrol_all
from tests.support.other_user import open_folder
from tests.support.records import record_hospitals

RUN = "0123456789abcdef"


@dataclass(frozen=True)
class AgentSite:
    """A site that has joined a consortium; `study`: what it approved."""

    folder: Path
    study: Study

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "agent.sock"

    @property
    def audit(self) -> Path:
        return self.state / "audit.jsonl"

    def agent(self, handler: Callable[[Site], SiteHandler] = with_gate) -> Agent:
        """As `wardround site agent` makes it."""
        return Agent(read_site(self.folder), handler)

    @contextmanager
    def served(self, handler: Callable[[Site], SiteHandler] = with_gate) -> Iterator[Path]:
        """The agent listening in this process; where."""
        server = self.agent(handler).serve(self.socket)
        try:
            yield self.socket
        finally:
            server.stop()

    @contextmanager
    def process(self, wrap: Wrap = list) -> Iterator[Process]:
        """`wardround site agent`, serving."""
        assert not self.socket.exists(), "another agent would answer instead"
        words = ("site", "agent", "--at", str(self.folder))
        process = Process(self.folder / "agent.log", *words, wrap=wrap, warm=True)
        try:
            with closing(RelayClient(self.socket)) as client:
                wait_for(lambda: client.is_serving() or not process.runs, "agent")
            assert process.runs, process.text
            yield process
        finally:
            process.stop()

    def join(self, study: str = "") -> JoinRequest:
        """To join a run of the study with this digest; of the approved one, unless told otherwise."""
        name = read_site(self.folder).file.site
        roster = SiteIdentity.read(name, self.state / "identity").roster
        return JoinRequest(RUN, study or self.study.digest, roster.digest.hex(), 1)


@contextmanager
def agent_site() -> Iterator[AgentSite]:
    """A site of three, in a folder whose path is short enough for a socket."""
    with open_folder() as folder:
        study = read_study(record_hospitals(folder / "h"))
        sites = sorted(path.parent for path in (folder / "h").glob("*/site.yaml"))
        enrol_all(folder / "consortium", sites, "127.0.0.1", 9443)
        Approvals(sites[0] / "state").approve(study)
        yield AgentSite(sites[0], study)


def sent(message: Request | Reply) -> bytes:
    return to_bytes(to_records(message))


def answered(socket: Path, request: bytes) -> Request | Reply:
    with closing(RelayClient(socket)) as client:
        return from_records(from_bytes(client.answer(request)))


def code_of(socket: Path, request: bytes) -> str:
    """The code that the request is refused with."""
    reply = answered(socket, request)
    assert isinstance(reply, Refusal), reply
    return reply.code
