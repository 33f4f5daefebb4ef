"""A patient's name in what goes wrong: none of it on the wire, in the output, in the log or in the audit log."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from flwr.app import RecordDict

from client.agent.agent import with_gate
from client.agent.handlers import SiteHandler
from client.round.gate import Gate
from client.round.session import Site
from common.disk.audit import Audit
from common.messages import Refusal, Reply, Request
from tests.support.agent import AgentSite, answered, sent
from tests.support.tap import Tap

NAME = "Müller, Anna"
TRACES = ["Müller".encode(), "Müller".encode("latin-1"), b"ller, Anna", b"Anna", b"M\\u00fcller", b"M\\xfcller"]


@dataclass
class Overheard:
    """What came of one request to join. `everywhere`: the wire, the output, the log, and what the audit log gained."""

    reply: Request | Reply
    wire: bytes
    log: str
    everywhere: bytes

    def require_no_trace(self) -> None:
        assert len(self.wire) > 200, "the request and the reply went another way"
        assert not [trace for trace in TRACES if trace in self.everywhere]


Ask = Callable[..., Overheard]


@pytest.fixture
def ask(site: AgentSite, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Ask:
    """Ask an agent with this handler to join, and listen everywhere."""

    def asking(handler: Callable[[Site], SiteHandler] = with_gate) -> Overheard:
        caplog.set_level(logging.DEBUG)
        before = site.audit.stat().st_size
        with site.served(handler) as socket, Tap(socket.with_name("tap.sock"), socket) as tap:
            reply = answered(tap.path, sent(site.join()))
        log = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
        said = ("".join(capfd.readouterr()) + log).encode()
        return Overheard(reply, bytes(tap.heard), log, bytes(tap.heard) + said + site.audit.read_bytes()[before:])

    return asking


# ------------------------------------------------------------------------------------------- a name in an exception


class RaisesInJoin(SiteHandler):
    def _let_out(self, kind: str, request: object, handle: object) -> object:  # type: ignore[override]
        raise KeyError(NAME)


class RaisesInReply(SiteHandler):
    def reply(self, records: RecordDict) -> RecordDict:
        try:
            raise ValueError(NAME)
        except ValueError as first:
            raise UnicodeDecodeError("utf-8", NAME.encode("latin-1"), 1, 2, NAME) from first


class Unspeakable(Exception):
    """As a library may raise one."""

    def __str__(self) -> str:
        raise KeyError(NAME)

    __repr__ = __str__


def raises_at_once(site: Site) -> SiteHandler:
    raise RuntimeError({"patient": NAME})


def raises_what_cannot_be_shown(site: Site) -> SiteHandler:
    raise Unspeakable


RAISING: dict[str, Callable[[Site], SiteHandler]] = {
    "in a handler": lambda site: RaisesInJoin(site, gate=Gate(site)),
    "outside the handlers, with a cause": RaisesInReply,
    "before there is a handler": raises_at_once,
    "what cannot be shown": raises_what_cannot_be_shown,
}


@pytest.mark.parametrize("where", RAISING)
def test_a_patients_name_in_an_exception_leaves_no_trace(site: AgentSite, ask: Ask, where: str) -> None:
    overheard = ask(RAISING[where])
    assert overheard.reply == Refusal("error") and "failed with" in overheard.log
    overheard.require_no_trace()
    assert Audit(site.audit).verify().broken is None


# ------------------------------------------------------------------------------------- a name where none should stand


def with_cell(text: str, column: str, content: str) -> str:
    """The table with this content in a cell of its first row."""
    names, row, *rest = csv.reader(io.StringIO(text))
    row[names.index(column)] = content
    out = io.StringIO()
    csv.writer(out).writerows([names, row, *rest])
    return out.getvalue()


BROKEN: dict[str, Callable[[str], str]] = {
    "a number that is a name": lambda text: with_cell(text, "Alter", NAME),
    "a word that is a name": lambda text: with_cell(text, "Geschlecht", NAME),
    "a target that is a name": lambda text: with_cell(text, "Verschlechterung", NAME),
    "a row too long": lambda text: text + f'"{NAME}","{NAME}"' * 40 + "\n",
    "a quote that does not end": lambda text: text + f'"{NAME}\n',
    "a column that is a name": lambda text: text.replace("Alter", f'"{NAME}"', 1),
}


@pytest.mark.parametrize("how", BROKEN)
def test_data_that_cannot_be_read_is_not_quoted(site: AgentSite, ask: Ask, how: str) -> None:
    """The reader itself raises, over a cell that holds a name."""
    table = site.folder / "records.csv"
    before = table.read_bytes()
    try:
        table.write_text(BROKEN[how](before.decode("utf-8")), encoding="utf-8")
        overheard = ask()
    finally:
        table.write_bytes(before)
    assert overheard.reply == Refusal("data")
    overheard.require_no_trace()
