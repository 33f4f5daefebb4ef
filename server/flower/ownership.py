"""Which message is whose: a node reads, confirms and answers what was sent to it, and nothing else.

Flower checks that a call names the node that signed it, and then serves whatever the call asks for by its name. The
name of a message is no secret: whoever knew one could read and delete what was sent to another site, and announce a
message that was no reply at all. What is not the caller's is treated here as what is not there. A call that brings an
object needs no such check: the object's name is the digest of its bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import ConfirmMessageReceivedResponse, ObjectTree, PullObjectResponse
from flwr.supercore.state.schema.linkstate_models import MessageIns, MessageRes
from flwr.supercore.state.schema.objectstore_models import ObjectChild, StoredObject
from flwr.supercore.utils import uint64_to_int64
from sqlalchemy import exists, or_, select

Handler = Callable[..., Any]

REMEMBERED = 20_000  # objects that were handed over; of older ones the database is asked


class Handed:
    """Which objects were handed to which node, by this process. The run forgets a request when its reply comes."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, str], None] = OrderedDict()

    def remember(self, node: int, trees: Sequence[ObjectTree]) -> None:
        for tree in trees:
            for name in (tree.object_id, *(child.object_id for child in tree.children)):
                self._known[node, name] = None
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def has(self, state: Any, node: int, name: str) -> bool:
        """Whether the object is of a message that was sent to this node."""
        return (node, name) in self._known or is_addressed(state, node, name)


def bind(handlers: Any) -> None:
    """Let the handlers of Flower's fleet API serve a node its own messages only."""
    handed, ours = Handed(), vars(handlers)
    ours["pull_messages"] = pulled(ours["pull_messages"], handed)
    ours["pull_object"] = own_object(ours["pull_object"], handed)
    ours["confirm_message_received"] = own_confirmed(ours["confirm_message_received"], handed)
    ours["push_messages"] = own_reply(ours["push_messages"])


def pulled(pull: Handler, handed: Handed) -> Handler:
    def pull_messages(request: Any, state: Any, store: Any) -> PullMessagesResponse:
        answer: PullMessagesResponse = pull(request=request, state=state, store=store)
        handed.remember(request.node.node_id, answer.message_object_trees)
        return answer

    return pull_messages


def own_object(pull: Handler, handed: Handed) -> Handler:
    """Of an object that was not sent to the node only whether it came is told: a connector asks that of its reply."""

    def pull_object(request: Any, state: Any) -> PullObjectResponse:
        answer: PullObjectResponse = pull(request=request, state=state)
        if answer.object_content and not handed.has(state, request.node.node_id, request.object_id):
            answer.object_content = b""
        return answer

    return pull_object


def own_confirmed(confirm: Handler, handed: Handed) -> Handler:
    def confirm_message_received(request: Any, state: Any, store: Any) -> ConfirmMessageReceivedResponse:
        if not handed.has(state, request.node.node_id, request.message_object_id):
            return ConfirmMessageReceivedResponse()
        answer: ConfirmMessageReceivedResponse = confirm(request=request, state=state, store=store)
        return answer

    return confirm_message_received


def own_reply(push: Handler) -> Handler:
    """What is no reply of this node to the coordinator is answered as a reply that nobody waits for any more."""

    def push_messages(request: PushMessagesRequest, state: Any) -> PushMessagesResponse:
        if not is_reply(request) or not is_free(state, request):
            return PushMessagesResponse()
        answer: PushMessagesResponse = push(request=request, state=state)
        return answer

    return push_messages


def is_reply(request: PushMessagesRequest) -> bool:
    """Whether it announces one reply, of the node that calls, with the objects that this message has.

    Flower checks that what is replied to was sent to the source; a message that is no reply it takes for a request, and
    delivers it to whichever site it names.
    """
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        return False
    told, tree = request.messages_list[0].metadata, request.message_object_trees[0]
    return (
        told.src_node_id == request.node.node_id
        and told.dst_node_id == SUPERLINK_NODE_ID
        and bool(told.reply_to_message_id)
        and told.message_id == tree.object_id
        and not any(child.children for child in tree.children)
    )


def is_free(state: Any, request: PushMessagesRequest) -> bool:
    """Whether its names are not those of other messages: with its reply a node would read them, or delete them."""
    node, tree = uint64_to_int64(request.node.node_id), request.message_object_trees[0]
    mine = exists().where(MessageRes.message_id == tree.object_id, MessageRes.src_node_id == node)
    children = [child.object_id for child in tree.children]
    with state.session() as session:
        if children and session.scalar(
            # Nothing has a message's first object as its child.
            select(StoredObject.object_id)
            .where(StoredObject.object_id.in_(children), StoredObject.ref_count == 0)
            .limit(1)
        ):
            return False
        taken = select(StoredObject.object_id).where(StoredObject.object_id == tree.object_id, ~mine)
        known = select(MessageIns.message_id).where(MessageIns.message_id == tree.object_id)
        return session.scalar(taken) is None and session.scalar(known) is None


def is_addressed(state: Any, node: int, name: str) -> bool:
    """Whether the database has a message to this node with such an object."""
    part = exists().where(ObjectChild.parent_id == MessageIns.message_id, ObjectChild.child_id == name)
    mine = MessageIns.dst_node_id == uint64_to_int64(node)
    with state.session() as session:
        found = session.scalar(
            select(MessageIns.message_id).where(mine, or_(MessageIns.message_id == name, part)).limit(1)
        )
    return found is not None
