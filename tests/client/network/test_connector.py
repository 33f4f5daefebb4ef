"""The connector on its bad days: an agent that dies, a thread that dies, a server that is away when it is to stop."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
from flwr.app import Metadata

from client.network import connector
from client.network.connector import Connector
from client.network.fleet import Fleet, Letter
from client.relay import RelayClient
from common.errors import RunError, SiteFailedError
from common.messages import ActivityReply, ActivityRequest, JoinRequest, Refusal, from_records, spoken_in, to_records
from common.record_bytes import from_bytes, to_bytes
from tests.support.deployment import wait_for

REPLY = b"the agent's reply"


def letter(number: int) -> Letter:
    return Letter(Metadata(3, f"{number:064x}", 1, 7, "", "group", 1.5, 60.0, "query.join"), b"request %d" % number)


class Line:
    """A server as the connector sees it: gives letters, and takes replies."""

    waits = False

    def __init__(self, *letters: Letter) -> None:
        self.letters, self.replies, self.confirmed = list(letters), dict[str, bytes](), list[str]()
        self.left = False
        self.push_error: Callable[[], None] = lambda: None

    def activate(self, before: int = 0) -> int:
        return 7

    def beat(self) -> bool:
        return True

    def leave(self) -> None:
        self.left = True

    def pull(self) -> Letter | None:
        return self.letters.pop(0) if self.letters else None

    def confirm(self, given: Letter) -> None:
        self.confirmed.append(given.key)

    def push(self, given: Letter, data: bytes, seconds: float) -> None:
        self.push_error()
        self.replies[given.key] = bytes(data)


class Lost(grpc.RpcError):
    """The agent is not there, or was killed while it worked."""


class Agent:
    """Does one thing after the other when it is asked, the last one for ever."""

    def __init__(self, *does: Callable[[], bytes]) -> None:
        self._does, self.asked = list(does), list[bytes]()

    def answer(self, request: bytes) -> bytes:
        self.asked.append(bytes(request))
        return (self._does.pop(0) if len(self._does) > 1 else self._does[0])()

    def activity(self) -> ActivityReply:
        return ActivityReply("idle", 0, 0, 0)


def away() -> bytes:
    raise Lost


def killed_at_work() -> bytes:
    time.sleep(0.3)
    raise Lost


def works() -> bytes:
    return REPLY


class Running:
    """The connector in a thread of its own; a context manager that stops it."""

    def __init__(self, line: Line, agent: Agent, folder: Path) -> None:
        self.stopped, self.failed = threading.Event(), list[Exception]()
        self._connector = Connector(cast(Fleet, line), cast(RelayClient, agent), folder, self.stopped)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._connector.run()
        except Exception as error:
            self.failed.append(error)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AGENT_SECONDS": 2.5, "WORKED_SECONDS": 0.2, "BEAT_SECONDS": 0.1, "AGAIN_SECONDS": 0.1,
        "IDLE_LOOK_SECONDS": 0.1, "WORKING_LOOK_SECONDS": 0.1, "DISK_SECONDS": 0.1,
    }.items():  # fmt: skip
        monkeypatch.setattr(connector, name, value)


def kept(folder: Path) -> int:
    return len(list((folder / "inbox").glob("*.letter")))


def test_an_agent_that_comes_back_is_asked_again_and_a_second_time_waited_for_as_long(tmp_path: Path) -> None:
    line, agent = Line(letter(1)), Agent(away, away, killed_at_work, away, works)
    with Running(line, agent, tmp_path):
        wait_for(lambda: line.replies != {}, "a reply", 15)
    assert line.replies == {letter(1).key: REPLY}  # after more than AGENT_SECONDS without any
    assert len(agent.asked) == 5 and kept(tmp_path) == 0


@pytest.mark.parametrize("agent", [Agent(away), Agent(killed_at_work)], ids=["stays away", "ends over the work"])
def test_an_agent_that_gives_no_answer_is_a_site_that_failed(tmp_path: Path, agent: Agent) -> None:
    line = Line(letter(1))
    with Running(line, agent, tmp_path):
        wait_for(lambda: line.replies != {}, "a reply", 15)
    assert from_records(from_bytes(line.replies[letter(1).key])) == Refusal(SiteFailedError.code)


@pytest.mark.parametrize("number", [4, 5])
def test_what_the_connector_says_itself_it_says_in_the_number_in_which_it_was_asked(
    tmp_path: Path, number: int
) -> None:
    """A coordinator of 0.2 reads no 5: its agent is away, or it is asked what it does."""
    asked = {"query.join": JoinRequest("r", "s", "t", 1), "query.activity": ActivityRequest("r")}
    letters = [
        Letter(Metadata(3, f"{place:064x}", 1, 7, "", "group", 1.5, 60.0, kind), to_bytes(to_records(request, number)))
        for place, (kind, request) in enumerate(asked.items())
    ]
    line = Line(*letters)
    with Running(line, Agent(away), tmp_path):
        wait_for(lambda: len(line.replies) == 2, "replies", 15)
    failed, activity = (from_bytes(line.replies[one.key]) for one in letters)
    assert spoken_in(failed) == spoken_in(activity) == number
    assert from_records(failed) == Refusal(SiteFailedError.code)
    assert from_records(activity) == ActivityReply("idle", 0, 0, 0)


def test_a_message_that_comes_again_is_answered_once(tmp_path: Path) -> None:
    going = threading.Event()
    line, agent = Line(letter(1), letter(1), letter(2)), Agent(lambda: REPLY if going.wait(10) else b"")
    with Running(line, agent, tmp_path):
        wait_for(lambda: len(line.confirmed) == 3, "all confirmed", 10)
        going.set()
        wait_for(lambda: len(line.replies) == 2, "replies", 10)
    assert agent.asked == [letter(1).data, letter(2).data]


def test_a_message_that_a_full_disk_did_not_take_is_taken_when_it_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server gives it again, because it was not confirmed."""
    line, keep = Line(letter(1), letter(1)), connector.Inbox.keep

    def full(inbox: Any, given: Letter) -> None:
        monkeypatch.setattr(connector.Inbox, "keep", keep)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(connector.Inbox, "keep", full)
    with Running(line, Agent(works), tmp_path), caplog.at_level(logging.WARNING, "wardround"):
        wait_for(lambda: line.replies == {letter(1).key: REPLY}, "a reply", 10)
    assert line.confirmed == [letter(1).key]
    assert "a message was not taken (No space left on device)" in caplog.text


def test_what_a_kill_left_half_written_is_gone_at_the_next_start(tmp_path: Path) -> None:
    """The server gives the letter again, or never; as large as it is, each one would have stayed."""
    left = [tmp_path / "inbox" / name for name in ("letter.draft", f".{letter(1).key}.letter.draft")]  # of 0.2, and now
    left[0].parent.mkdir()
    for path in left:
        path.write_bytes(b"half")
    line = Line(letter(2))
    with Running(line, Agent(works), tmp_path):
        wait_for(lambda: line.replies == {letter(2).key: REPLY}, "a reply", 10)
    assert not any(path.exists() for path in left) and kept(tmp_path) == 0


def test_a_connector_that_is_told_to_stop_keeps_what_it_could_not_send_and_does_not_say_good_bye(
    tmp_path: Path,
) -> None:
    line = Line(letter(1))
    with Running(line, Agent(works), tmp_path) as running:

        def cut() -> None:
            running.stopped.wait(10)
            raise httpx.ConnectError("away")

        line.push_error = cut
        wait_for(lambda: kept(tmp_path) == 1, "kept", 10)
    assert kept(tmp_path) == 1 and not line.left
    again = Line()
    with Running(again, Agent(works), tmp_path):
        wait_for(lambda: again.replies == {letter(1).key: REPLY} and kept(tmp_path) == 0, "sent at last", 10)
    assert again.left


def test_a_reply_that_nobody_takes_any_more_is_given_up(tmp_path: Path) -> None:
    line = Line(letter(1), letter(2))

    def refused() -> None:
        line.push_error = lambda: None
        request = httpx.Request("POST", "https://127.0.0.1")
        raise httpx.HTTPStatusError("", request=request, response=httpx.Response(403, request=request))

    line.push_error = refused
    with Running(line, Agent(works), tmp_path):
        wait_for(lambda: line.replies == {letter(2).key: REPLY} and kept(tmp_path) == 0, "the next one", 10)


@pytest.mark.parametrize("thread", ["beat", "push"])
def test_a_thread_that_dies_ends_the_connector_and_says_so(
    tmp_path: Path, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its signs of life, or its replies, the site would seem to be there."""
    line = Line(letter(1))

    def broken(*_: Any) -> bool:
        raise OSError("as a disk that is gone")

    monkeypatch.setattr(line, thread, broken)
    with Running(line, Agent(works), tmp_path) as running:
        wait_for(lambda: running.ended, "its end", 10)
    [error] = running.failed
    assert isinstance(error, RunError) and "OSError at broken" in str(error)
    assert "disk" not in str(error)


def test_what_stays_wrong_is_logged_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A removed site calls on, and is turned away every two seconds: that must not fill its log."""
    line, looks = Line(), list[float]()

    def turned_away() -> Letter | None:
        looks.append(time.monotonic())
        raise RunError("The coordinator does not know this site's node key.")

    monkeypatch.setattr(line, "pull", turned_away)
    with Running(line, Agent(works), tmp_path), caplog.at_level(logging.WARNING, "wardround"):
        wait_for(lambda: len(looks) >= 5, "five looks", 10)
    assert caplog.text.count("does not know this site's node key") == 1
