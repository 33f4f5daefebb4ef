"""The site's side of Flower 1.41: its fleet API over HTTPS, with the node key. All of its internals are in here.

Only outbound requests, through the proxy that HTTPS_PROXY names. No app bundle is ever asked for, and what arrives is
data: nothing of it is run.
"""

from __future__ import annotations

import datetime
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self, cast

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message, Metadata, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_protobuf_utils import (
    make_confirm_message_received_fn_protobuf,
    make_pull_object_fn_protobuf,
    make_push_object_fn_protobuf,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectPushError,
    inflate_object_from_contents,
    pull_objects,
    push_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supernode.fleet_http_client import FleetHttpClient

from common.errors import IdentityError, RunError
from common.messages import disclosed, enclosed
from common.patience import answered

HEARTBEAT_SECONDS = 15.0  # Flower calls a node lost after two that did not come
SOON_SECONDS = 0.05  # a message is announced before all of it is there; Flower would look again after a second
UNENROLLED = "The coordinator does not know this site's node key. Ask its people to admit this site's request."
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
    """One message of the coordinator: what to reply to, and its records."""

    message: Message

    @property
    def kind(self) -> str:
        return self.message.metadata.message_type

    @property
    def key(self) -> str:
        """Flower's name of it, and of a file: a SHA-256."""
        return self.message.metadata.message_id

    @property
    def head(self) -> dict[str, str | int | float]:
        """All but its records, in plain values: with both it can be made again."""
        return {name: getattr(self.message.metadata, name) for name in _HEAD}

    @classmethod
    def of(cls, head: Mapping[str, Any], records: RecordDict) -> Self:
        """The letter that had this head and these records. KeyError or TypeError for a head that is none."""
        metadata = Metadata(**{name: head[name] for name in _HEAD})
        return cls(cast(Message, Message(records, metadata=metadata)))  # type: ignore[call-overload]


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
        self._client = FleetHttpClient.from_server_address(
            address, False, ca, [RuntimeVersionHttpInterceptor(component_name="SuperNode"), _NodeSignature(private)]
        )
        self.node = 0

    # ------------------------------------------------------------------------------------------------- being a node

    def activate(self, before: int = 0) -> int:
        """Say that this node is here. `before`: its number of last time, 0 if unknown.

        IdentityError if it is not enrolled, or connected from elsewhere.

        A connector that was killed is still online to the server, which lets only those in that are not.
        """
        request = ActivateNodeRequest(public_key=self._public, heartbeat_interval=HEARTBEAT_SECONDS)
        for _ in range(2):
            try:
                self.node = self._call(lambda: self._client.ActivateNode(request)).node_id
                return self.node
            except httpx.HTTPStatusError as error:
                if error.response.status_code == httpx.codes.UNAUTHORIZED:
                    raise IdentityError(UNENROLLED) from None
                if error.response.status_code != httpx.codes.PRECONDITION_FAILED:
                    raise
                self._leave(before)
        raise IdentityError(CONNECTED)

    def beat(self) -> bool:
        """A sign of life. False when the server has forgotten this node, which must activate itself again."""
        node = Node(node_id=self.node)
        request = SendNodeHeartbeatRequest(node=node, heartbeat_interval=HEARTBEAT_SECONDS)
        return bool(self._client.SendNodeHeartbeat(request).success)

    def leave(self) -> None:
        """Say good-bye, if anybody listens."""
        if self.node:
            self._leave(self.node)
        self._client.close()

    def _leave(self, node: int) -> None:
        try:
            self._client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        except httpx.HTTPError:
            return

    # --------------------------------------------------------------------------------------------------- messages

    def pull(self) -> Letter | None:
        """The next message for this node, whole, or None. It is confirmed: the server gives it to nobody again."""
        reply = self._call(lambda: self._client.PullMessages(PullMessagesRequest(node=Node(node_id=self.node))))
        if not reply.messages_list:
            return None
        head, tree = message_from_proto(reply.messages_list[0]), reply.message_object_trees[0]
        run, key = head.metadata.run_id, head.metadata.message_id
        fetch = make_pull_object_fn_protobuf(self._patient("PullObject"), Node(node_id=self.node), run)
        try:
            names = [item.object_id for item in iterate_object_tree(tree)]
            contents = pull_objects(names, pull_object_fn=fetch, initial_backoff=SOON_SECONDS, backoff_cap=1.0)
        except ObjectPullError:
            raise RunError("A message whose contents the server does not have.") from None
        message = cast(Message, inflate_object_from_contents(key, contents))
        message.metadata.__dict__["_message_id"] = key
        message.content = disclosed(message.content)
        return Letter(message)

    def confirm(self, letter: Letter) -> None:
        """Tell the server that the message is safe here, so that it can forget it."""
        confirm = make_confirm_message_received_fn_protobuf(
            self._patient("ConfirmMessageReceived"), Node(node_id=self.node), letter.message.metadata.run_id
        )
        confirm(letter.key)

    def push(self, letter: Letter, records: RecordDict, seconds: float) -> None:
        """Send the reply. Sent twice, it is the same. `seconds`: how long it took, for Flower's statistics."""
        reply, run = Message(enclosed(records), reply_to=letter.message), letter.message.metadata.run_id
        reply.metadata.__dict__["_created_at"] = letter.message.metadata.created_at  # or a second one is another one
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            request = PushMessagesRequest(
                node=Node(node_id=self.node),
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[get_object_tree(reply)],
                clientapp_runtime_list=[seconds],
            )
            answer = self._call(lambda: self._client.PushMessages(request))
            send = make_push_object_fn_protobuf(
                self._patient("PushObject"), Node(node_id=self.node), run, answer.session_id
            )
            try:
                push_objects(
                    get_all_nested_objects(reply), push_object_fn=send, object_ids_to_push=set(answer.objects_to_push)
                )
            except ObjectPushError:
                raise RunError("The server did not take a part of a reply.") from None

    def _call(self, call: Callable[[], Any]) -> Any:
        return answered(call, seconds=self._seconds, stopped=self._stopped, waiting=self._waiting)

    def _patient(self, name: str) -> Callable[[Any], Any]:
        return lambda request: self._call(lambda: getattr(self._client, name)(request))


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
        except (KeyError, ValueError, TypeError):
            return False
        ahead = theirs - datetime.datetime.now(datetime.UTC)
        changed = abs(ahead - self._ahead) > datetime.timedelta(seconds=30)
        self._ahead = ahead if changed else self._ahead
        return changed
