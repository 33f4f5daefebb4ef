"""What a stranger at the coordinator's port, or a hostile site, could do to the server and to a run."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest

from common.messages import ActivityReply, JoinRequest, new_message, to_records
from common.network.flower_objects import CHUNK_BYTES, LARGEST_BYTES, Arriving
from common.network.long_poll import FOR_RUN, FOR_SITES, HEADER
from common.record_bytes import to_bytes
from server.flower.grid import REPLY_HEAD, _Claimed
from server.flower.guard import FLEET, LONGEST_CALL, LONGEST_OBJECT, Guard
from server.flower.long_poll import Bell
from server.flower.supervisor import LOG
from server.run.watch import RunStatus, Watch
from tests.support.superlink import running_superlink

PUSH_OBJECT = "/v1/fleet/push-object"


async def well_signed(scope: Any) -> bool:
    return True


def answered(app: Any, path: str, *headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    """The head of the answer to a call through `app`, behind which everything is answered with `status`."""
    said: list[dict[str, Any]] = []

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    app._app = behind
    asyncio.run(app({"type": "http", "path": path, "headers": list(headers)}, None, send))
    return said[0]


@pytest.mark.parametrize("path", sorted(FLEET | {"/health"}))
def test_a_stranger_cannot_fill_the_servers_memory_with_one_request(path: str) -> None:
    """Flower parses a body before it looks for a signature: 31 MiB of empty messages took 900 MB, of nobody's."""
    longest = LONGEST_OBJECT if path == PUSH_OBJECT else LONGEST_CALL
    for length, status in ((longest, 200), (longest + 1, 413)):
        assert answered(Guard(None, "x", well_signed), path, (b"content-length", b"%d" % length))["status"] == status  # type: ignore[arg-type]


def test_what_a_site_sends_has_room_in_it() -> None:
    names = ["0" * 64] * (LARGEST_BYTES // CHUNK_BYTES + 2)
    tree = ObjectTree(object_id=names[0], children=[ObjectTree(object_id=name) for name in names])
    assert PushMessagesRequest(message_object_trees=[tree]).ByteSize() < LONGEST_CALL - 10_000
    chunk = PushObjectRequest(object_id=names[0], object_content=bytes(CHUNK_BYTES))
    assert chunk.ByteSize() < LONGEST_OBJECT - 10_000


def test_a_stranger_hears_nothing_of_how_much_is_sent() -> None:
    """The number of what was sent stood in the 401 too: whoever reached the port could watch rounds go by."""
    bell = Bell(None)  # type: ignore[arg-type]
    for path in (FOR_SITES, FOR_RUN):
        assert not answered(bell, path, status=401)["headers"]
        assert [name for name, _ in answered(bell, path)["headers"]] == [HEADER.encode()]


def test_what_a_stranger_sends_is_no_news() -> None:
    bell = Bell(None)  # type: ignore[arg-type]
    before = answered(bell, FOR_RUN)["headers"]
    answered(bell, PUSH_OBJECT, (b"content-length", b"9"), status=401)
    assert answered(bell, FOR_RUN)["headers"] == before
    answered(bell, PUSH_OBJECT, (b"content-length", b"9"))
    assert answered(bell, FOR_RUN)["headers"] != before


class Replies:
    """A grid on which these come back to what is asked, in the order of the nodes."""

    def __init__(self, *contents: RecordDict) -> None:
        self._contents, self._asked = contents, list[Message]()

    def create_message(self, content: RecordDict, kind: str, node: int, group: str, ttl: float) -> Message:
        return new_message(content, kind, node, group, ttl)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self._asked = list(messages)
        for number, message in enumerate(self._asked):
            message.metadata.__dict__["_message_id"] = str(number)
        return [message.metadata.message_id for message in self._asked]

    def pull_messages(self, wanted: Iterable[str]) -> list[Message]:
        return [Message(self._contents[int(key)], reply_to=self._asked[int(key)]) for key in wanted]


def test_a_site_that_answers_rubbish_hides_no_other_site(tmp_path: Path) -> None:
    """All that anybody saw of a run was what one site let be seen."""
    grid = Replies(
        RecordDict(), to_records(JoinRequest("r", "s", "d", 1)), to_records(ActivityReply("training", 1, 2, 3))
    )
    watch = Watch(RunStatus("run", "study", os.getpid()), tmp_path / "status.json")
    said = watch._ask(grid, [11, 12, 13], threading.Event())  # type: ignore[arg-type]
    assert said == {13: ActivityReply("training", 1, 2, 3)}


def test_a_strangers_calls_leave_nothing_in_the_servers_log(tmp_path: Path) -> None:
    """Each left its path there, of up to 64 kB, in a file that nobody shortens."""
    with running_superlink(tmp_path / "consortium", ()) as (superlink, _):
        log = superlink.consortium.state / LOG
        before = log.stat().st_size
        for path in ("/v1/control/" + "x" * 10_000, "/v1/fleet/pull-messages", "/health?" + "y" * 10_000):
            assert superlink.post(path) in (401, 403, 405)
        assert log.stat().st_size == before


def test_a_reply_with_more_than_a_site_has_to_say_is_not_parsed() -> None:
    """Its entries kept a run busy for a second each megabyte."""
    asked = new_message(to_records(ActivityReply("idle", 0, 0, 0)), "query.activity", 1)
    for size, read in ((REPLY_HEAD // 2, True), (2 * REPLY_HEAD, False)):
        claimed = _Claimed(Message(RecordDict(), reply_to=asked), Arriving("", lambda name: None))
        claimed.read(bytearray(to_bytes(RecordDict({"filler": ConfigRecord({"filler": bytes(size)})}))))
        assert bool(claimed.message.content) == read
