"""What client/network/fleet.py relies on in Flower 1.41: a release that changes it fails here, in words."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
from pathlib import Path

import flwr
import pytest
from flwr.app import Metadata
from flwr.common.serde import message_to_proto

from client.network.fleet import Letter, reply_of
from common.network.flower_objects import Contents, Parcel
from tests.support.contract import Relied, changed, unwritten

ROOT = Path(__file__).resolve().parents[3]
FLEET_CALLS = (
    "ActivateNode", "DeactivateNode", "SendNodeHeartbeat", "PullMessages", "PushMessages", "PullObject", "PushObject",
    "ConfirmMessageReceived",
)  # fmt: skip
HTTP = "flwr.supercore.interceptors.http"

CONTRACT = {
    "flwr.app.Message": Relied("a message from its records and its metadata, and a reply to one", also=("reply_to",)),
    "flwr.app.Metadata": Relied(
        "a letter that was kept on disk, made again",
        takes=("run_id", "message_id", "src_node_id", "dst_node_id", "reply_to_message_id", "group_id", "created_at",
               "ttl", "message_type"),
    ),
    "flwr.app.RecordDict": Relied("the records of a message", takes=("records",)),
    "flwr.common.constant.TIMESTAMP_HEADER": Relied("the time that a node signs", is_="flwr-timestamp"),
    "flwr.common.constant.TIMESTAMP_TOLERANCE": Relied("how old a signed time may be, in seconds", is_=300),
    "flwr.common.serde.message_from_proto": Relied("a message's head as it arrives", takes=("message_proto",)),
    "flwr.common.serde.message_to_proto": Relied("a reply's head as it is sent", takes=("message",)),
    "flwr.common.serde.recorddict_from_proto": Relied("records from bytes", takes=("recorddict_proto",)),
    "flwr.common.serde.recorddict_to_proto": Relied("records as bytes", takes=("recorddict",)),
    "flwr.proto.fleet_pb2.ActivateNodeRequest": Relied(
        "saying that a node is here", fields=("public_key", "heartbeat_interval")
    ),
    "flwr.proto.fleet_pb2.ActivateNodeResponse": Relied("the node's number", fields=("node_id",)),
    "flwr.proto.fleet_pb2.DeactivateNodeRequest": Relied("saying good-bye", fields=("node_id",)),
    "flwr.proto.fleet_pb2.PullMessagesRequest": Relied("asking for messages", fields=("node",)),
    "flwr.proto.fleet_pb2.PullMessagesResponse": Relied(
        "heads of messages and the names of their parts", fields=("messages_list", "message_object_trees")
    ),
    "flwr.proto.fleet_pb2.PushMessagesRequest": Relied(
        "a reply's head", fields=("node", "messages_list", "message_object_trees", "clientapp_runtime_list")
    ),
    "flwr.proto.fleet_pb2.PushMessagesResponse": Relied(
        "which parts of a reply are to be sent", fields=("objects_to_push", "session_id")
    ),
    "flwr.proto.heartbeat_pb2.SendNodeHeartbeatRequest": Relied(
        "a sign of life", fields=("node", "heartbeat_interval")
    ),
    "flwr.proto.heartbeat_pb2.SendNodeHeartbeatResponse": Relied("whether it was heard", fields=("success",)),
    "flwr.proto.node_pb2.Node": Relied("this node", fields=("node_id",)),
    "flwr.supercore.constant.FLEET_HTTP_PUBLIC_KEY_HEADER": Relied("a node's key in a call", is_="flwr-public-key"),
    "flwr.supercore.constant.FLEET_HTTP_SIGNATURE_HEADER": Relied("a node's signature in a call", is_="flwr-signature"),
    f"{HTTP}.runtime_version.RuntimeVersionHttpInterceptor": Relied("Flower's version", takes=("component_name",)),
    f"{HTTP}.utils.add_headers": Relied("the signature in a call's head", takes=("request", "headers")),
    "flwr.supercore.primitives.asymmetric.public_key_to_bytes": Relied("a key as stored", takes=("public_key",)),
    "flwr.supercore.primitives.asymmetric.sign_message": Relied("a node's signature", takes=("private_key", "message")),
    "flwr.supercore.protobuf.client.ProtobufCall": Relied("the type of what sends a call"),
    "flwr.supercore.protobuf.client.ProtobufRequestContext": Relied(
        "a call before it is sent, whose head may be changed", takes=("rpc_method", "message", "request")
    ),
    "flwr.supernode.fleet_http_client.FleetHttpClient": Relied("the fleet API", has=(*FLEET_CALLS, "close")),
    "flwr.supernode.fleet_http_client.FleetHttpClient.from_server_address": Relied(
        "TLS with the consortium's authority alone",
        takes=("server_address", "insecure", "root_certificates", "interceptors"),
    ),
    "flwr.proto.message_pb2.ConfirmMessageReceivedRequest": Relied(
        "telling the server to forget a message", fields=("node", "run_id", "message_object_id")
    ),
    "flwr.proto.message_pb2.ObjectTree": Relied("the names of a message's parts", fields=("object_id", "children")),
    "flwr.proto.message_pb2.PullObjectRequest": Relied("fetching a part", fields=("node", "run_id", "object_id")),
    "flwr.proto.message_pb2.PullObjectResponse": Relied(
        "a part, or that it is not there yet", fields=("object_found", "object_available", "object_content")
    ),
    "flwr.proto.message_pb2.PushObjectRequest": Relied(
        "sending a part", fields=("node", "run_id", "object_id", "object_content", "session_id")
    ),
    "flwr.proto.message_pb2.PushObjectResponse": Relied("whether a part was taken", fields=("stored",)),
    "flwr.supercore.inflatable.inflatable_utils.validate_object_content": Relied(
        "the form of a part", takes=("content",)
    ),
    "flwr.supercore.protobuf.client.ProtobufClientInterceptor": Relied("the type of what changes a call"),
}  # fmt: skip


def test_flower_is_the_release_that_was_tested() -> None:
    assert flwr.__version__.startswith("1.41."), f"Flower {flwr.__version__}: pin it, and run all of tests/ anew"


def test_what_a_site_relies_on_is_as_it_was() -> None:
    assert changed(CONTRACT) == []


def test_all_that_a_site_imports_is_written_down() -> None:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "client").glob("*.py")]
    assert unwritten(CONTRACT, ROOT, *files) == set()


def asked() -> Letter:
    return Letter(Metadata(3, "0" * 64, 1, 7, "", "group", 1.5, 60.0, "query.join"), b"request")


def test_a_reply_goes_back_to_who_asked() -> None:
    """The private names through which a reply has the name that we give it."""
    for name in ("_message_id", "_created_at"):
        assert name in asked().metadata.__dict__, f"Metadata keeps no {name} any more: client/network/fleet.py sets it"
    reply, parcel = reply_of(asked(), b"reply")
    told = reply.metadata
    assert (told.run_id, told.src_node_id, told.dst_node_id, told.reply_to_message_id) == (3, 7, 1, "0" * 64)
    assert (told.message_id, told.created_at, told.ttl) == (parcel.key, 1.5, 60.0)


def test_a_reply_that_is_sent_twice_has_one_name() -> None:
    """Also after a restart; and another reply has another."""
    kept = Letter.of(json.loads(json.dumps(asked().head)), b"request")
    heads = []
    for letter in (asked(), kept):
        heads.append(message_to_proto(reply_of(letter, b"reply")[0]).SerializeToString(deterministic=True))
        time.sleep(0.01)
    assert heads[0] == heads[1], "Flower's head of a reply has something of the time in it that we do not set"
    assert reply_of(asked(), b"reply")[1].key != reply_of(asked(), b"Reply")[1].key


def test_flower_takes_the_objects_that_we_make(tmp_path: Path) -> None:
    """Its own check of an object's form, on the server and in the store."""
    utils = importlib.import_module("flwr.supercore.inflatable.inflatable_utils")
    for size in (10, 12 << 20):
        parcel = Parcel.of(("x",), Contents.of(bytes(size)))
        for name in (parcel.key, *parcel.children):
            content = parcel.object(name)
            utils.validate_object_content(content)
            assert hashlib.sha256(content).hexdigest() == name


@pytest.mark.parametrize(
    ("relied", "words"),
    [
        ({"flwr.nothing.here": Relied("x")}, "flwr.nothing.here: is gone, or moved. It is for: x"),
        ({"flwr.common.constant.TIMESTAMP_HEADER": Relied("x", is_="other")}, "and was 'other'"),
        ({"flwr.proto.node_pb2.Node": Relied("x", fields=("node_id", "name"))}, "has no name any more"),
        ({f"{HTTP}.utils.add_headers": Relied("x", takes=("headers", "request"))}, "takes (request, headers) now"),
        ({f"{HTTP}.utils.add_headers": Relied("x", takes=("request",))}, "asks for headers too"),
        ({f"{HTTP}.utils.add_headers": Relied("x", also=("request", "headers", "more"))}, "does not take more"),
    ],
)
def test_a_change_is_told_in_words(relied: dict[str, Relied], words: str) -> None:
    [told] = changed(relied)
    assert words in told
