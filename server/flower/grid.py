"""A run of the SuperLink, played by this process: Flower 1.41's runtime API, and its Grid.

No app bundle is ever run. Flower wants one for a run; it gets one without code. The coordinator's own process takes the
run's task, as Flower's executor would, and plays the installed `server/run/run.py` with it.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar, cast

import httpx
from flwr.app import DEFAULT_TTL, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import ErrorCode
from flwr.common.serde import fab_to_proto, message_from_proto, message_to_proto, run_from_proto
from flwr.proto.control_pb2 import StartRunRequest, StopRunRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
    PushAppMessagesRequest,
    PushTaskOutputRequest,
    SendTaskHeartbeatRequest,
)
from flwr.supercore.constant import TaskType
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_token import RuntimeTokenHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid.http_grid import HttpGrid

from common.errors import RunError
from common.messages import new_message
from common.network.flower_objects import Arriving, Contents, Parcel, sent
from common.network.long_poll import FOR_RUN, News
from common.record_bytes import from_bytes, to_bytes
from server.flower.control import Place

R = TypeVar("R")

HEARTBEAT_SECONDS = 10.0
REPLY_BYTES = 64 << 20  # a reply has a word for each weight that was sent with the request, and counts: less than this
REPLY_HEAD = 1 << 20  # without its vector: an offer has a box for each site, a reveal two shares
COMPLETE_SECONDS = 150.0  # without another object of a reply: its sender is lost. After 180 s Flower gives up
_APP = b"""
[project]
name = "wardround"
version = "1.0.0"
description = "A marker without code: the coordinator and every site run what they have installed."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "wardround"

[tool.flwr.app.components]
serverapp = "wardround:nothing"
clientapp = "wardround:nothing"
"""


@dataclass
class _Claimed:
    """A reply that the server will not hand over again."""

    message: Message
    arriving: Arriving

    def read(self, data: bytearray) -> None:
        """What cannot be read stays without content."""
        with suppress(RunError):
            self.message.content = from_bytes(data, REPLY_HEAD)

    def lose(self) -> None:
        error = Error(ErrorCode.MESSAGE_UNAVAILABLE, "The sender did not send all of its reply.")
        self.message = cast(Message, Message(error=error, metadata=self.message.metadata))  # type: ignore[call-overload]


class FleetGrid(HttpGrid):
    """Flower's Grid over the SuperLink, for a task that this process took. It waits for a server that is away."""

    def __init__(self, place: Place, token: str, stopped: threading.Event, waiting: Callable[[float], None]) -> None:
        super().__init__(place.address, False, place.ca.read_bytes(), token=token)
        self._news = News(FOR_RUN)
        self._place, self._stopped, self._waiting = place, stopped, waiting
        self._claimed: dict[str, _Claimed] = {}  # by the request; each is asked for by one thread only
        self._largest = REPLY_BYTES  # of a reply: one chunk, announced a thousand times, is a message of 4 GiB

    def _connect(self) -> None:
        self._client = RuntimeHttpClient.from_server_address(
            self._place.address,
            False,
            self._cert,
            [*self._place.interceptors(), RuntimeTokenHttpInterceptor(token=self._token), self._news],
        )

    @property
    def client(self) -> RuntimeHttpClient:
        """The runtime API with the task's token."""
        return self._runtime_client

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return new_message(content, message_type, dst_node_id, group_id, ttl or DEFAULT_TTL, run=self.run.run_id)

    def get_node_ids(self) -> Iterable[int]:
        return self._patient(lambda: list(super(FleetGrid, self).get_node_ids()))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """The messages' names. Contents that are one object in several messages are read, stored and sent once."""
        whole, contents, parcels = list(messages), dict[int, Contents](), list[Parcel]()
        for message in whole:
            if id(message.content) not in contents:
                contents[id(message.content)] = Contents.of(to_bytes(message.content))
                self._largest = max(self._largest, len(contents[id(message.content)].data) + REPLY_BYTES)
            told = message.metadata
            about = (told.run_id, told.dst_node_id, told.created_at, told.message_type, told.group_id)
            parcels.append(Parcel.of(about, contents[id(message.content)]))
            told.__dict__["_message_id"] = parcels[-1].key
        if whole:
            self._send(whole, parcels)
        return [parcel.key for parcel in parcels]

    def _send(self, messages: Sequence[Message], parcels: Sequence[Parcel]) -> None:
        request = PushAppMessagesRequest(
            messages_list=[message_to_proto(remove_content_from_message(message)) for message in messages],
            message_object_trees=[
                ObjectTree(object_id=parcel.key, children=[ObjectTree(object_id=name) for name in parcel.children])
                for parcel in parcels
            ],
        )
        answer = self._patient(lambda: self.client.PushMessages(request))

        def send(name: str, content: bytes) -> bool:
            put = PushObjectRequest(
                node=self.node,
                run_id=self.run.run_id,
                object_id=name,
                object_content=content,
                session_id=answer.session_id,
            )
            return bool(self._patient(lambda: self.client.PushObject(put)).stored)

        sent(parcels, answer.objects_to_push, send, self._object)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are here whole. Flower hands a reply over once, before its objects are all there: what is
        incomplete is kept, and completed at the next look, so that no other reply waits for it.
        """
        wanted = list(message_ids)
        unclaimed = [key for key in wanted if key not in self._claimed]  # of others the server says that they are gone
        if unclaimed:
            request = PullAppMessagesRequest(message_ids=unclaimed)
            for item in self._patient(lambda: self.client.PullMessages(request)).messages_list:
                head = message_from_proto(item)
                self._claimed[head.metadata.reply_to_message_id] = _Claimed(
                    head, Arriving(head.metadata.message_id, self._object, self._largest)
                )
        whole = []
        for key in wanted:
            if key in self._claimed and self._completed(self._claimed[key]):
                whole.append(self._claimed.pop(key).message)
        if any(key in self._claimed for key in wanted):
            self._news.forget()  # the next look is to complete what is here in part
        return whole

    def _completed(self, claimed: _Claimed) -> bool:
        """Whether nothing more is to be waited for: the reply is here, or an error, or its sender will not go on."""
        if not claimed.message.has_error():
            try:
                data = claimed.arriving.whole()
            except RunError:
                data = bytearray()  # what is no parcel is unreadable, as the exchange will find
            if data is not None:
                claimed.read(data)
            elif time.monotonic() - claimed.arriving.since < COMPLETE_SECONDS:
                return False
            else:
                claimed.lose()
        self._confirm(claimed.message.metadata.message_id)
        return True

    def _confirm(self, name: str) -> None:
        """The server can forget the message."""
        request = ConfirmMessageReceivedRequest(node=self.node, run_id=self.run.run_id, message_object_id=name)
        self._patient(lambda: self.client.ConfirmMessageReceived(request))

    def _object(self, name: str) -> Any:
        request = PullObjectRequest(node=self.node, run_id=self.run.run_id, object_id=name)
        return self._patient(lambda: self.client.PullObject(request))

    def _patient(self, call: Callable[[], R]) -> R:
        return self._place.answer(call, stopped=self._stopped, waiting=self._waiting)


class FlowerRun:
    """A run of the SuperLink, and this process as the one that plays it. A context manager: its value is the grid."""

    def __init__(
        self, place: Place, waiting: Callable[[float], None] = lambda seconds: None, *, before: int = 0
    ) -> None:
        """`before`: a run whose process was killed. It is ended first: no site waits for the rest of its messages."""
        self._place, self._waiting, self._before = place, waiting, before
        self._stopped = threading.Event()
        self._control, self._executor = place.clients()
        self._beat = threading.Thread(target=self._beating, name="task heartbeat", daemon=True)
        self._grid: FleetGrid | None = None

    def __enter__(self) -> FleetGrid:
        content, _ = build_fab_from_files({"pyproject.toml": _APP})
        fab = fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {}))
        if self._before:
            with suppress(httpx.HTTPError):  # it has ended, or is not of this server
                self._control.StopRun(StopRunRequest(run_id=self._before))
        started = self._patient(lambda: self._control.StartRun(StartRunRequest(fab=fab)))
        if not started.run_id:
            raise RunError("Flower's server did not start a run. Its log says why: state/superlink.log.")
        self._grid = grid = FleetGrid(self._place, self._token(started.run_id), self._stopped, self._waiting)
        given = self._patient(lambda: grid.client.PullTaskInput(PullTaskInputRequest()))
        grid.set_run(run_from_proto(given.run))
        self._beat.start()
        return grid

    def _patient(self, call: Callable[[], R]) -> R:
        return self._place.answer(call, waiting=self._waiting)

    def _token(self, run: int, seconds: float = 30.0) -> str:
        """The token of this run's task. Another run's task was nobody's, if it is still waiting: it is left to end."""
        request, ends = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]), time.monotonic() + seconds
        while time.monotonic() < ends:
            taken = self._patient(lambda: self._executor.AcquireTask(request))
            if taken.HasField("task") and taken.token and taken.task.run_id == run:
                return str(taken.token)
            time.sleep(0.05)
        raise RunError("Flower's server did not hand over the run's task. Is another process taking tasks from it?")

    def _beating(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):  # the next one may pass; the run itself says what does not
                assert self._grid is not None
                self._grid.client.SendTaskHeartbeat(SendTaskHeartbeatRequest())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        assert self._grid is not None
        said = ("completed", "") if kind is None else ("failed", kind.__name__)
        with suppress(httpx.HTTPError):  # a server that is away will find the task without heartbeat, and end it
            self._grid.client.PushTaskOutput(PushTaskOutputRequest(sub_status=said[0], details=said[1]))
        self._grid.close()
