"""A request and its reply arrive whole and once, at whatever moment a connector is killed or an answer is lost.

A real SuperLink, the real connector and the real socket of the agent; only what the agent answers is made up.
"""

from __future__ import annotations

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from flwr.app import Message

from client.relay import RelayServer
from common.messages import ActivityReply, OfferReply, OfferRequest, from_records, to_records
from common.network import flower_objects as parcels
from common.record_bytes import from_bytes, to_bytes
from server.flower.grid import FleetGrid, FlowerRun
from server.flower.supervisor import DATABASE
from tests.support.deployment import wait_for
from tests.support.killed_connector import CHUNK_BYTES, Moment, Where, smaller, start
from tests.support.superlink import RunningSuperLink, running_superlink

SECONDS = 20.0
SITE = "north"


@pytest.fixture(scope="module")
def superlink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuperLink]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            patch.delenv(name, raising=False)
        for name in ("CHUNK_BYTES", "SMALL_BYTES"):
            patch.setattr(parcels, name, getattr(parcels, name))
        smaller()
        with running_superlink(tmp_path_factory.mktemp("c") / "consortium", (SITE,)) as (running, _):
            yield running


class Agent:
    """Answers each request with an own reply of several chunks, whenever it is asked."""

    def __init__(self, socket: Path) -> None:
        self._relay = RelayServer(socket, self.answer, lambda: ActivityReply("idle", 0, 0, 0), largest=lambda: 1 << 30)
        self._relay.start()

    def answer(self, request: bytes | bytearray) -> bytes:
        told = from_records(from_bytes(request))
        assert isinstance(told, OfferRequest)
        return to_bytes(to_records(reply_to(told.context)))

    def stop(self) -> None:
        self._relay.stop()


def request(number: int) -> OfferRequest:
    return OfferRequest(np.random.default_rng(number).bytes(2 * CHUNK_BYTES + 5))


def reply_to(context: bytes) -> OfferReply:
    return OfferReply(np.random.default_rng(list(context[:8])).bytes(3 * CHUNK_BYTES + 7))


@pytest.fixture(scope="module")
def where(superlink: RunningSuperLink, tmp_path_factory: pytest.TempPathFactory) -> Where:
    folder, consortium = tmp_path_factory.mktemp("s"), superlink.consortium
    return Where(
        consortium.address, consortium.ca_certificate, superlink.keys[SITE], folder / "a.sock", folder / "connector"
    )


@pytest.fixture(scope="module")
def agent(where: Where) -> Iterator[Agent]:
    made = Agent(where.socket)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def node(where: Where, agent: Agent) -> int:
    """The connector's, which has connected once."""
    process, file = start(where), where.folder / "node.id"
    wait_for(lambda: file.exists() and file.read_text() != "", "connected", 30)
    end(process)
    return int(file.read_text())


def ask(grid: FleetGrid, node: int, number: int) -> str:
    message = grid.create_message(to_records(request(number)), "query.offer", node, "")
    [key] = grid.push_messages([message])
    return key


def look(grid: FleetGrid, key: str, seconds: float) -> list[Message]:
    """What came until something did."""
    came: list[Message] = []
    ends = time.monotonic() + seconds
    while not came and time.monotonic() < ends:
        grid._news.forget()  # looks at once, and not when there is news
        came.extend(grid.pull_messages([key]))
        time.sleep(0.01)
    return came


def arrived(came: list[Message], number: int) -> str:
    """Empty when the whole reply did, else why not."""
    if not came:
        return "nothing"
    if came[0].has_error():
        return str(came[0].error.reason)
    return "" if from_records(came[0].content) == reply_to(request(number).context) else "another reply"


def rest(where: Where) -> list[Path]:
    """What the connector still keeps."""
    return list((where.folder / "inbox").glob("*.letter"))


def left(superlink: RunningSuperLink) -> int:
    """Messages that the server still keeps, and parts of messages."""
    with closing(sqlite3.connect(superlink.consortium.state / DATABASE)) as database:
        several = [f"SELECT count(*) FROM {table}" for table in ("message_ins", "message_res", "objects")]
        return sum(database.execute(query).fetchone()[0] for query in several)


@pytest.fixture(scope="module")
def moments(
    superlink: RunningSuperLink, where: Where, node: int, tmp_path_factory: pytest.TempPathFactory
) -> list[Moment]:
    """All that a connector comes through, from its start to a reply that was delivered."""
    seen = tmp_path_factory.mktemp("m") / "seen"
    with FlowerRun(superlink.place) as grid:
        key, process = ask(grid, node, 0), start(where, seen=seen)
        assert arrived(look(grid, key, SECONDS), 0) == ""
        wait_for(lambda: seen.read_text().splitlines()[-1] == "unlink", "done", 20)
        end(process)
    names, found = Counter[str](), list[Moment]()
    for name in seen.read_text().split():
        names[name] += 1
        found += [Moment(name, names[name], after) for after in (False, True) if after or name != "pull-messages"]
    assert names.keys() >= {
        "pull-messages", "pull-object", "fsync", "replace", "confirm-message-received", "push-messages", "push-object",
        "unlink",
    }  # fmt: skip
    assert names["pull-object"] > 2 and names["push-object"] > 2
    return found


def end(process: Any) -> None:
    process.kill()
    process.join()


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "looking",
    [
        pytest.param(True, id="the run looks meanwhile"),
        pytest.param(False, id="the run looks later", marks=pytest.mark.soak),
    ],
)
def test_a_connector_may_be_killed_at_any_moment(
    superlink: RunningSuperLink, where: Where, node: int, moments: list[Moment], looking: bool, every: int
) -> None:
    """A reply that the run has seen before it was whole is another matter than one that it has not.

    At every fourth moment; in the soak at every one.
    """
    if not looking:  # there is no difference before
        moments = moments[moments.index(Moment("push-messages", 1, after=False)) :]
    moments = moments[every // 2 :: every]
    lost = {}
    with FlowerRun(superlink.place) as grid:
        for number, moment in enumerate(moments, 1):
            key, process = ask(grid, node, number), start(where, moment)
            came = look(grid, key, 0.3) if looking else []
            process.join(SECONDS)
            assert process.exitcode == -signal.SIGKILL, f"the moment {moment} did not come"
            came = came or (look(grid, key, 0.1) if looking else [])
            process = start(where)
            lost[str(moment)] = arrived(came or look(grid, key, SECONDS), number)
            wait_for(lambda: not rest(where), f"an empty inbox, killed {lost}", 20)
            end(process)
        assert {moment: why for moment, why in lost.items() if why} == {}
        assert left(superlink) == 0


def test_the_answer_to_any_call_of_a_connector_may_be_lost(
    superlink: RunningSuperLink, where: Where, node: int, moments: list[Moment]
) -> None:
    calls = [moment for moment in moments if moment.after and moment.name not in ("fsync", "replace", "unlink")]
    lost = {}
    with FlowerRun(superlink.place) as grid:
        for number, call in enumerate(calls, 100):
            key, process = ask(grid, node, number), start(where, call, lose=True)
            lost[str(call)] = arrived(look(grid, key, SECONDS), number)
            wait_for(lambda: not rest(where), f"an empty inbox, {lost}", 20)
            end(process)
        assert {call: why for call, why in lost.items() if why} == {}
        assert left(superlink) == 0


def test_a_run_that_was_killed_while_it_sent_holds_up_no_site(
    superlink: RunningSuperLink, where: Where, node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connector has taken the head of its request, and waits for the rest."""
    killed = FlowerRun(superlink.place)
    grid, send, objects = killed.__enter__(), httpx.Client.send, list[str]()

    def cut_off(self: httpx.Client, sent: httpx.Request, **more: Any) -> httpx.Response:
        objects.append(sent.url.path)
        if objects.count("/v1/runtime/push-object") > 1:
            raise InterruptedError
        return send(self, sent, **more)

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(httpx.Client, "send", cut_off)
        ask(grid, node, 300)
    process = start(where)
    time.sleep(2)
    assert not rest(where)
    began = time.monotonic()
    with FlowerRun(superlink.place, before=grid.run.run_id) as again:
        assert arrived(look(again, ask(again, node, 301), SECONDS), 301) == ""
    assert time.monotonic() - began < 10
    end(process)


def test_the_answer_to_any_call_of_a_run_may_be_lost(
    superlink: RunningSuperLink, where: Where, node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But of the one by which Flower hands a reply over and forgets it. It is on one machine with the run: that answer
    is lost only when the server is killed in that moment, and counts as a lost connection.
    """
    send, process, called = httpx.Client.send, start(where), Counter[str]()
    lose: tuple[str, int] = ("", 0)

    def losing(self: httpx.Client, sent: httpx.Request, **more: Any) -> httpx.Response:
        answer, name = send(self, sent, **more), sent.url.path.rpartition("/")[2]
        called[name] += 1
        if (name, called[name]) == lose:
            raise httpx.ReadError("the line was cut")
        return answer

    monkeypatch.setattr(httpx.Client, "send", losing)
    failed = {}
    with FlowerRun(superlink.place) as grid:
        assert arrived(look(grid, ask(grid, node, 200), SECONDS), 200) == ""
        calls = [
            (name, place + 1)
            for name in ("push-messages", "push-object", "pull-object", "confirm-message-received")
            for place in range(called[name])
        ]
        assert len(calls) > 8
        for number, lose in enumerate(calls, 201):
            called.clear()
            failed[lose] = arrived(look(grid, ask(grid, node, number), SECONDS), number)
        assert {call: why for call, why in failed.items() if why} == {}
        wait_for(lambda: left(superlink) == 0, "all confirmed", 20)
    end(process)
