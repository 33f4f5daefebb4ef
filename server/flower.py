"""The coordinator's side of Flower 1.41: its control and runtime APIs over HTTP. All of their internals are in here.

No app bundle is ever run. Flower wants one for a run; it gets one without code. The coordinator's own process takes the
run's task, as Flower's executor would, and plays the installed `server/run.py` with it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import httpx
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.app import DEFAULT_TTL, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import ErrorCode
from flwr.common.serde import fab_to_proto, message_from_proto, message_to_proto, run_from_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
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
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_token import RuntimeTokenHttpInterceptor
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.superexec_auth import SuperExecAuthHttpInterceptor
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufClientInterceptor, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.grid.http_grid import HttpGrid

from common.errors import RunError
from common.messages import from_bytes, new_message, to_bytes
from common.news import FOR_RUN, News
from common.parcels import Arriving, Contents, Parcel, sent
from common.patience import answered
from server.guard import HEADER

R = TypeVar("R")

PATIENCE_SECONDS = 600.0  # how long a server that does not answer is waited for
HEARTBEAT_SECONDS = 10.0
COMPLETE_SECONDS = 150.0  # without another object of a reply: its sender is lost. After 180 s Flower gives up
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"
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


@dataclass(frozen=True)
class Place:
    """Where the SuperLink answers, and the files that hold its secrets of this start."""

    address: str  # host:port
    ca: Path
    control_secret: Path
    executor_secret: Path

    def clients(self) -> tuple[ControlHttpClient, RuntimeHttpClient]:
        """Of the control API, and of the runtime API as an executor."""
        executor = SuperExecAuthHttpInterceptor(
            master_secret=self.executor_secret.read_bytes(), protected_methods={_ACQUIRE}
        )
        return (
            ControlHttpClient.from_server_address(self.address, False, self.ca.read_bytes(), self.interceptors()),
            RuntimeHttpClient.from_server_address(
                self.address, False, self.ca.read_bytes(), [*self.interceptors(), executor]
            ),
        )

    def interceptors(self) -> list[ProtobufClientInterceptor]:
        """For every call: Flower's version, and the guard's secret."""
        return [RuntimeVersionHttpInterceptor(component_name="wardround"), _GuardSecret(self.control_secret)]


class _GuardSecret:
    """Read again for every call: a SuperLink that was started again has another one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        add_headers(context.request, {HEADER: self._file.read_text(encoding="ascii").strip()})
        return call_next(context)


# ---------------------------------------------------------------------------------------------------------- the nodes


@dataclass(frozen=True)
class Node:
    """A site as Flower sees it. `online_until`: seconds of Unix time; `seen`: of the last sign of life."""

    node: int
    key: bytes  # public, as the server stores it
    online: bool
    online_until: float
    interval: float


class Nodes:
    """Which node keys the SuperLink lets in, and how they are."""

    def __init__(self, place: Place) -> None:
        self._control = place.clients()[0]

    def listed(self) -> list[Node]:
        """All that are registered now."""
        reply = answered(lambda: self._control.ListNodes(ListNodesRequest()), seconds=PATIENCE_SECONDS)
        return [
            Node(item.node_id, item.public_key, item.status == "online", item.online_until, item.heartbeat_interval)
            for item in reply.nodes_info
            if item.status != "unregistered"
        ]

    def admit(self, keys: Iterable[bytes]) -> set[bytes]:
        """Let in exactly these keys: register what is new, remove what is gone.

        Returns those that Flower refuses, for it never lets a key in again that was removed.
        """
        wanted, there, barred = set(keys), {node.key: node.node for node in self.listed()}, set[bytes]()
        for key in wanted - there.keys():
            try:
                self._control.RegisterNode(RegisterNodeRequest(public_key=key))
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.PRECONDITION_FAILED:
                    raise
                barred.add(key)
        for key in there.keys() - wanted:
            self._control.UnregisterNode(UnregisterNodeRequest(node_id=there[key]))
        return barred


# ------------------------------------------------------------------------------------------------------------ the run


@dataclass
class _Claimed:
    """A reply that the server will not hand over again."""

    message: Message
    arriving: Arriving

    def read(self, data: bytearray) -> None:
        """What cannot be read stays without content."""
        with suppress(RunError):
            self.message.content = from_bytes(data)

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
                    head, Arriving(head.metadata.message_id, self._object)
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
        return answered(call, seconds=PATIENCE_SECONDS, stopped=self._stopped, waiting=self._waiting)


class FlowerRun:
    """A run of the SuperLink, and this process as the one that plays it. A context manager: its value is the grid."""

    def __init__(self, place: Place, waiting: Callable[[float], None] = lambda seconds: None) -> None:
        self._place, self._waiting = place, waiting
        self._stopped = threading.Event()
        self._control, self._executor = place.clients()
        self._beat = threading.Thread(target=self._beating, name="task heartbeat", daemon=True)
        self.run = 0
        self._grid: FleetGrid | None = None

    def __enter__(self) -> FleetGrid:
        content, _ = build_fab_from_files({"pyproject.toml": _APP})
        fab = fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {}))
        started = answered(lambda: self._control.StartRun(StartRunRequest(fab=fab)), seconds=PATIENCE_SECONDS)
        if not started.run_id:
            raise RunError("Flower's server did not start a run. Its log says why: state/superlink.log.")
        self.run = started.run_id
        self._grid = grid = FleetGrid(self._place, self._token(), self._stopped, self._waiting)
        self._beat.start()
        given = grid.client.PullTaskInput(PullTaskInputRequest())
        grid.set_run(run_from_proto(given.run))
        return grid

    def _token(self, seconds: float = 30.0) -> str:
        """The token of this run's task. Another run's task was nobody's, if it is still waiting: it is left to end."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            taken = self._executor.AcquireTask(AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP]))
            if taken.HasField("task") and taken.token and taken.task.run_id == self.run:
                return str(taken.token)
            time.sleep(0.05)
        raise RunError("Flower's server did not hand over the run's task. Is another process taking tasks from it?")

    def _beating(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            try:
                assert self._grid is not None
                self._grid.client.SendTaskHeartbeat(SendTaskHeartbeatRequest())
            except httpx.HTTPError:
                continue  # the next one may pass; the run itself says what does not

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        assert self._grid is not None
        said = ("completed", "") if kind is None else ("failed", kind.__name__)
        with suppress(httpx.HTTPError):  # a server that is away will find the task without heartbeat, and end it
            self._grid.client.PushTaskOutput(PushTaskOutputRequest(sub_status=said[0], details=said[1]))
        self._grid.close()


def make_secret(path: Path, size: int = 32) -> None:
    """A new secret, hexadecimal, in a file that only this user can read, in place of the one before."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(os.urandom(size).hex())
    draft.replace(path)


def stop(place: Place, run: int) -> None:
    """End a run of the SuperLink that nobody plays any more."""
    place.clients()[0].StopRun(StopRunRequest(run_id=run))


def stored_key(openssh: bytes) -> bytes:
    """A node's public key in the form that the SuperLink stores."""
    key = load_ssh_public_key(openssh)
    return public_key_to_bytes(key)  # type: ignore[arg-type]  # on P-384, as it was admitted


def by_site(nodes: Iterable[Node], keys: Mapping[str, bytes]) -> dict[str, Node]:
    """site -> its node, by the keys that the consortium admitted."""
    of_key = {node.key: node for node in nodes}
    return {site: of_key[key] for site, key in keys.items() if key in of_key}
