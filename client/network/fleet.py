"""The site's side of Flower 1.41: its fleet API over HTTPS, with the node key. All of its internals are in here.

Only outbound requests, through the proxy that HTTPS_PROXY names. No app bundle is ever asked for, and what arrives is
data: nothing of it is run.
"""

from __future__ import annotations

import datetime
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Self, cast

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message, Metadata, RecordDict
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufClientInterceptor, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient

from common.errors import IdentityError, RunError
from common.network.flower_objects import Arriving, Contents, Parcel, is_awaited, sent
from common.network.long_poll import FOR_SITES, News
from common.network.retries import answered, is_untrusted

HEARTBEAT_SECONDS = 15.0  # Flower calls a node lost after two that did not come
UNENROLLED = "The coordinator does not know this site's node key. Ask its people to admit this site's request."
REFUSED_CALLS = {
    401: UNENROLLED,
    403: "status 403: the run that asked has ended, which is no fault; if it goes on all day, something on the way "
    "refuses this site",
}
UNTRUSTED = (
    "Who answers at the coordinator's address has no certificate of the consortium's authority. Does a proxy open TLS "
    "on the way? Has the coordinator been made anew? Ask its people, and telephone before you join anew."
)
CONNECTED = (
    "The coordinator holds this site for connected. Stop its other connector; after one that was killed, wait a minute."
)


_HEAD = (
    "run_id",
    "message_id",
    "src_node_id",
    "dst_node_id",
    "reply_to_message_id",
    "group_id",
    "created_at",
    "ttl",
    "message_type",
)


@dataclass(frozen=True)
class Letter:
    """One message of the coordinator: what to reply to, and its records' bytes, which a connector never reads."""

    metadata: Metadata
    data: bytes | bytearray = field(repr=False)

    @property
    def kind(self) -> str:
        return self.metadata.message_type

    @property
    def key(self) -> str:
        """Flower's name of it, and of a file: a SHA-256."""
        return self.metadata.message_id

    @property
    def head(self) -> dict[str, str | int | float]:
        """All but its records, in plain values: with both it can be made again."""
        return {name: getattr(self.metadata, name) for name in _HEAD}

    @classmethod
    def of(cls, head: Mapping[str, Any], data: bytes | bytearray) -> Self:
        """The letter that had this head and these records. KeyError or TypeError for a head that is none."""
        return cls(Metadata(**{name: head[name] for name in _HEAD}), data)


class Fleet:
    """This node at the SuperLink. Calls wait while the server is away, until `stopped` is set."""

    def __init__(
        self,
        address: str,
        ca: bytes,
        key: bytes,
        *,
        stopped: threading.Event,
        waiting: Callable[[float], None] = lambda seconds: None,
        seconds: float = float("inf"),
    ) -> None:
        """`address`: host:port. `ca`: PEM. `key`: an OpenSSH private key on P-384."""
        private = load_ssh_private_key(key, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise IdentityError("The node key is not an elliptic curve key. Enrol this site again.")
        self._public = public_key_to_bytes(private.public_key())
        self._stopped, self._waiting, self._seconds = stopped, waiting, seconds
        self._news = News(FOR_SITES)
        interceptors: list[ProtobufClientInterceptor] = [
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            _NodeSignature(private),
            self._news,
        ]
        self._client = FleetHttpClient.from_server_address(address, False, ca, interceptors)
        # Flower's follows redirects: the coordinator would reach what this machine reaches inside of the hospital.
        vars(self._client)["_client"].follow_redirects = False
        self.node = 0

    # ------------------------------------------------------------------------------------------------- being a node

    def activate(self, before: int = 0) -> int:
        """Say that this node is here. `before`: its number of last time, 0 if unknown.

        IdentityError if it is not enrolled, or connected from elsewhere, or if it is not the coordinator that answers.

        A connector that was killed is still online to the server, which lets only those in that are not. It is not
        called offline first: the run would look, and give up what this node was asked.
        """
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT_SECONDS)
        try:
            self.node = self._call(lambda: self._client.ActivateNode(request)).node_id
        except httpx.ConnectError as error:
            if is_untrusted(error):
                raise IdentityError(UNTRUSTED) from None
            raise
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.UNAUTHORIZED:
                raise IdentityError(UNENROLLED) from None
            if error.response.status_code != httpx.codes.PRECONDITION_FAILED:
                raise
            self.node = before
            if not before or not self._is_mine():
                raise IdentityError(CONNECTED) from None
        return self.node

    def _is_mine(self) -> bool:
        """Whether the node, which is online, has this key."""
        try:
            return bool(self._call(self.beat))
        except httpx.HTTPStatusError:
            return False

    def beat(self) -> bool:
        """A sign of life. False when the server has forgotten this node, which must activate itself again."""
        node = Node(node_id=self.node)
        request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT_SECONDS)
        return bool(self._client.SendNodeHeartbeat(request).success)

    def leave(self) -> None:
        """Say good-bye, if anybody listens."""
        with suppress(httpx.HTTPError):
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=self.node))
        self._client.close()

    # --------------------------------------------------------------------------------------------------- messages

    @property
    def waits(self) -> bool:
        """Whether the server will keep this thread's next `pull` until there is news, or for a second."""
        return self._news.waits

    def pull(self) -> Letter | None:
        """The next message for this node, whole, or None. It is given again until it is confirmed.

        RunError when it is none, or was given up; then it does not come again.
        """
        reply = self._call(lambda: self._client.PullMessages(PullMessagesRequest(node=Node(node_id=self.node))))
        if not reply.messages_list:
            return None
        metadata = message_from_proto(reply.messages_list[0]).metadata
        arriving = Arriving(metadata.message_id, lambda name: self._object(metadata.run_id, name))
        try:
            return Letter(metadata, arriving.awaited(self._stopped))
        except RunError:
            if not self._stopped.is_set():
                self._confirm(metadata)
            raise

    def _object(self, run: int, name: str) -> Any:
        request = PullObjectRequest(node=Node(node_id=self.node), run_id=run, object_id=name)
        return self._call(lambda: self._client.PullObject(request))

    def confirm(self, letter: Letter) -> None:
        """Tell the server that the message is safe here, so that it can forget it."""
        self._confirm(letter.metadata)

    def _confirm(self, metadata: Metadata) -> None:
        request = ConfirmMessageReceivedRequest(
            node=Node(node_id=self.node), run_id=metadata.run_id, message_object_id=metadata.message_id
        )
        self._call(lambda: self._client.ConfirmMessageReceived(request))

    def push(self, letter: Letter, data: bytes | bytearray, seconds: float) -> None:
        """Send the reply, or what is missing of it. Sent twice, it is the same.

        `seconds`: how long it took, for Flower's statistics.
        """
        (reply, parcel), node, run = reply_of(letter, data), Node(node_id=self.node), letter.metadata.run_id
        request = PushMessagesRequest(
            node=node,
            messages_list=[message_to_proto(reply)],
            message_object_trees=[
                ObjectTree(object_id=parcel.key, children=[ObjectTree(object_id=name) for name in parcel.children])
            ],
            clientapp_runtime_list=[seconds],
        )
        answer = self._call(lambda: self._client.PushMessages(request))
        wanted, session = list(answer.objects_to_push), answer.session_id
        if not wanted:
            # It was announced before, by a connector that was killed. Once the run has seen that, Flower takes no
            # announcement any more, but still the objects, from whoever names no session.
            wanted, session = self._awaited(run, parcel), ""

        def send(name: str, content: bytes) -> bool:
            put = PushObjectRequest(node=node, run_id=run, object_id=name, object_content=content, session_id=session)
            return bool(self._call(lambda: self._client.PushObject(put)).stored)

        sent([parcel], wanted, send, lambda name: self._object(run, name))

    def _awaited(self, run: int, parcel: Parcel) -> list[str]:
        """The objects that the server was told of, and does not have; none of a message that it has forgotten."""
        if not self._object(run, parcel.key).object_found:
            return []
        return [name for name in (parcel.key, *parcel.children) if is_awaited(self._object(run, name))]

    def _call(self, call: Callable[[], Any]) -> Any:
        return answered(call, seconds=self._seconds, stopped=self._stopped, waiting=self._waiting)


def reply_of(letter: Letter, data: bytes | bytearray) -> tuple[Message, Parcel]:
    """Whenever it is made, the same message of the same name, so that a connector that was killed while it sent can go
    on: Flower's own has the time in it, and the server takes no second reply to one message.
    """
    asked = cast(Message, Message(RecordDict(), metadata=letter.metadata))  # type: ignore[call-overload]
    reply, parcel = Message(RecordDict(), reply_to=asked), Parcel.of(("reply", letter.key), Contents.of(data))
    reply.metadata.__dict__ |= {"_created_at": letter.metadata.created_at, "_message_id": parcel.key}
    reply.metadata.ttl = letter.metadata.ttl
    return reply, parcel


def reason(error: Exception) -> str:
    """Why a call failed, for the site's own log."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return REFUSED_CALLS.get(status, f"status {status}")
    if isinstance(error, httpx.HTTPError) and is_untrusted(error):
        return UNTRUSTED
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, RunError) else type(error).__name__


class _NodeSignature:
    """Signs the time, as the SuperLink asks. It takes five minutes of difference; a hospital's clock may be more off.

    The server's own `Date`, sent over TLS, is trusted for this alone: it makes the signature fresh, nothing else.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key, self._ahead = key, datetime.timedelta()
        self._public = b64encode(public_key_to_bytes(key.public_key())).decode("ascii")

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        self._sign(context.request)
        response = call_next(context)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._learn(response):
            self._sign(context.request)
            response = call_next(context)
        return response

    def _sign(self, request: httpx.Request) -> None:
        now = (datetime.datetime.now(datetime.UTC) + self._ahead).isoformat()
        for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, TIMESTAMP_HEADER, FLEET_HTTP_SIGNATURE_HEADER):
            request.headers.pop(name, None)
        add_headers(
            request,
            {
                FLEET_HTTP_PUBLIC_KEY_HEADER: self._public,
                TIMESTAMP_HEADER: now,
                FLEET_HTTP_SIGNATURE_HEADER: b64encode(sign_message(self._key, now.encode("ascii"))).decode("ascii"),
            },
        )

    def _learn(self, response: httpx.Response) -> bool:
        """How far the server's clock is ahead. Whether that says more than was known."""
        try:
            theirs = parsedate_to_datetime(response.headers["date"])
            ahead = theirs - datetime.datetime.now(datetime.UTC)
        except (KeyError, ValueError, TypeError, OverflowError):
            return False
        changed = abs(ahead - self._ahead) > datetime.timedelta(seconds=30)
        self._ahead = ahead if changed else self._ahead
        return changed
