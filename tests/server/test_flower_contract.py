"""What the coordinator's adapters (`ADAPTERS`) rely on in Flower 1.41, in words."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import threading
from pathlib import Path

import pytest
from flwr.superlink.grid.http_grid import HttpGrid
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from server.flower.control import Place
from server.flower.grid import FleetGrid
from server.flower.guard import FLEET, OPEN, Guard
from server.flower.patches import works_under
from tests.support.contract import Relied, changed, unwritten

ROOT = Path(__file__).resolve().parents[2]
ADAPTERS = (
    "server/flower/control.py",
    "server/flower/grid.py",
    "server/flower/superlink.py",
    "server/flower/patches.py",
    "server/flower/signature.py",
    "server/flower/ownership.py",
)
HTTP, PROTO = "flwr.supercore.interceptors.http", "flwr.proto"
ADDRESS = ("server_address", "insecure", "root_certificates", "interceptors")
_MIDDLEWARE = Relied("passing by what it does nothing for", has=("__call__", "dispatch"))

CONTRACT = {
    "flwr.app.DEFAULT_TTL": Relied("how long a message lives that says nothing of it"),
    "flwr.app.Error": Relied("a reply that did not come whole", takes=("code", "reason")),
    "flwr.app.Message": Relied("a message from its records and its metadata"),
    "flwr.app.RecordDict": Relied("the records of a message"),
    "flwr.cli.build.build_fab_from_files": Relied("the bundle without code that a run must have", takes=("files",)),
    "flwr.common.constant.ErrorCode": Relied("a reply that did not come whole", has=("MESSAGE_UNAVAILABLE",)),
    "flwr.common.serde.fab_to_proto": Relied("the bundle as it is sent", takes=("fab",)),
    "flwr.common.serde.message_from_proto": Relied("a reply's head", takes=("message_proto",)),
    "flwr.common.serde.run_from_proto": Relied("the run that was started", takes=("run_proto",)),
    f"{PROTO}.control_pb2.ListNodesRequest": Relied("which nodes are let in"),
    f"{PROTO}.control_pb2.ListNodesResponse": Relied("the nodes", fields=("nodes_info",)),
    f"{PROTO}.node_pb2.NodeInfo": Relied(
        "how a node is", fields=("node_id", "public_key", "status", "online_until", "heartbeat_interval")
    ),
    f"{PROTO}.control_pb2.RegisterNodeRequest": Relied("letting a node key in", fields=("public_key",)),
    f"{PROTO}.control_pb2.UnregisterNodeRequest": Relied("no longer letting it in", fields=("node_id",)),
    f"{PROTO}.control_pb2.StartRunRequest": Relied("starting a run", fields=("fab",)),
    f"{PROTO}.control_pb2.StartRunResponse": Relied("its number", fields=("run_id",)),
    f"{PROTO}.control_pb2.StopRunRequest": Relied("ending a run that nobody plays", fields=("run_id",)),
    f"{PROTO}.message_pb2.ConfirmMessageReceivedRequest": Relied(
        "telling the server to forget a reply", fields=("node", "run_id", "message_object_id")
    ),
    "flwr.app.message.remove_content_from_message": Relied("a message's head, without its records", takes=("message",)),
    "flwr.common.serde.message_to_proto": Relied("a message's head as it is sent", takes=("message",)),
    f"{PROTO}.message_pb2.PullObjectRequest": Relied("fetching a part", fields=("node", "run_id", "object_id")),
    f"{PROTO}.message_pb2.PushObjectRequest": Relied(
        "sending a part", fields=("node", "run_id", "object_id", "object_content", "session_id")
    ),
    f"{PROTO}.runtime_pb2.PushAppMessagesRequest": Relied(
        "heads of messages", fields=("messages_list", "message_object_trees")
    ),
    f"{PROTO}.runtime_pb2.PushAppMessagesResponse": Relied(
        "which parts are to be sent", fields=("objects_to_push", "session_id")
    ),
    f"{PROTO}.message_pb2.ObjectTree": Relied("the names of a reply's parts", fields=("object_id", "children")),
    f"{PROTO}.fleet_pb2.ActivateNodeRequest": Relied("the call that an unenrolled key reaches", fields=("public_key",)),
    f"{PROTO}.runtime_pb2.AcquireTaskRequest": Relied("taking the run's task", fields=("supported_task_types",)),
    f"{PROTO}.runtime_pb2.AcquireTaskResponse": Relied("the task and its token", fields=("task", "token")),
    f"{PROTO}.runtime_pb2.PullAppMessagesRequest": Relied("asking for replies", fields=("message_ids",)),
    f"{PROTO}.runtime_pb2.PullAppMessagesResponse": Relied(
        "heads of replies and the names of their parts", fields=("messages_list", "message_object_trees")
    ),
    f"{PROTO}.runtime_pb2.PullTaskInputRequest": Relied("beginning the task"),
    f"{PROTO}.runtime_pb2.PullTaskInputResponse": Relied("the task's run", fields=("run",)),
    f"{PROTO}.runtime_pb2.PushTaskOutputRequest": Relied("ending the task", fields=("sub_status", "details")),
    f"{PROTO}.runtime_pb2.SendTaskHeartbeatRequest": Relied("a sign of life of the task"),
    "flwr.supercore.constant.TaskType": Relied("the kind of the run's task", has=("SERVER_APP",)),
    "flwr.supercore.control.control_http_client.ControlHttpClient": Relied(
        "the control API", has=("ListNodes", "RegisterNode", "UnregisterNode", "StartRun", "StopRun")
    ),
    "flwr.supercore.control.control_http_client.ControlHttpClient.from_server_address": Relied(
        "TLS with the consortium's authority, and the guard's secret in each call", takes=ADDRESS
    ),
    "flwr.supercore.fab.Fab": Relied("the bundle without code", takes=("hash_str", "content", "verifications")),
    f"{HTTP}.runtime_token.RuntimeTokenHttpInterceptor": Relied("the task's token in each call", takes=("token",)),
    f"{HTTP}.runtime_version.RuntimeVersionHttpInterceptor": Relied("Flower's version", takes=("component_name",)),
    f"{HTTP}.superexec_auth.SuperExecAuthHttpInterceptor": Relied(
        "the executor's secret", also=("master_secret", "protected_methods")
    ),
    f"{HTTP}.utils.add_headers": Relied("the guard's secret in a call's head", takes=("request", "headers")),
    "flwr.supercore.primitives.asymmetric.public_key_to_bytes": Relied("a node key as stored", takes=("public_key",)),
    "flwr.supercore.protobuf.client.ProtobufCall": Relied("the type of what sends a call"),
    "flwr.supercore.protobuf.client.ProtobufClientInterceptor": Relied("the type of what changes one"),
    "flwr.supercore.protobuf.client.ProtobufRequestContext": Relied(
        "a call before it is sent", takes=("rpc_method", "message", "request")
    ),
    "flwr.supercore.runtime.RuntimeHttpClient": Relied(
        "the runtime API",
        has=("AcquireTask", "PullTaskInput", "PushTaskOutput", "SendTaskHeartbeat", "PullMessages", "PushMessages",
             "PullObject", "PushObject", "ConfirmMessageReceived"),
    ),
    "flwr.supercore.runtime.RuntimeHttpClient.from_server_address": Relied("TLS, and two secrets", takes=ADDRESS),
    "flwr.superlink.grid.http_grid.HttpGrid": Relied(
        "Flower's Grid, whose calls are made patient",
        takes=("runtime_api_address", "insecure", "root_certificates"), also=("token",),
        has=("_connect", "_runtime_client", "get_node_ids", "push_messages", "pull_messages", "set_run", "run",
             "close"),
    ),
    "flwr.supercore.sql_mixin": Relied("how long a writer waits for the database", has=("SQLITE_PRAGMAS",)),
    "flwr.server.superlink.linkstate.SqlLinkState": Relied(
        "what keeps the messages, in one transaction", has=("get_message_ins", "session")
    ),
    "flwr.server.superlink.linkstate.SqlLinkState.get_message_ins": Relied(
        "the hand-over of messages to a node", takes=("node_id", "limit")
    ),
    "flwr.supercore.state.schema.linkstate_models.MessageIns": Relied(
        "when a message was handed over", has=("message_id", "dst_node_id", "delivered_at")
    ),
    "flwr.supercore.state.schema.objectstore_models.StoredObject": Relied(
        "whether a message was confirmed: then its object is gone", has=("object_id", "ref_count")
    ),
    "flwr.supercore.utils.uint64_to_int64": Relied("a node's number in the database", takes=("unsigned",)),
    "flwr.common.constant.SUPERLINK_NODE_ID": Relied("whom a reply is for", is_=1),
    "flwr.common.constant.SYSTEM_TIME_TOLERANCE": Relied("how old a signature may be"),
    "flwr.common.constant.TIMESTAMP_TOLERANCE": Relied("the same"),
    "flwr.common.constant.TIMESTAMP_HEADER": Relied("what a node signs"),
    "flwr.supercore.constant.FLEET_HTTP_PUBLIC_KEY_HEADER": Relied("the key that it signs with"),
    "flwr.supercore.constant.FLEET_HTTP_SIGNATURE_HEADER": Relied("its signature"),
    "flwr.supercore.date.now": Relied("the time that signatures are held against"),
    "flwr.supercore.primitives.asymmetric.bytes_to_public_key": Relied("a node's key", takes=("public_key_bytes",)),
    "flwr.supercore.primitives.asymmetric.verify_signature": Relied(
        "its signature", takes=("public_key", "message", "signature")
    ),
    "flwr.supercore.state.schema.linkstate_models.Node": Relied("which keys are let in", has=("public_key", "status")),
    "flwr.supercore.state.schema.linkstate_models.MessageRes": Relied(
        "whose a reply is", has=("message_id", "src_node_id")
    ),
    "flwr.supercore.state.schema.objectstore_models.ObjectChild": Relied(
        "which objects a message has", has=("parent_id", "child_id")
    ),
    f"{PROTO}.fleet_pb2.PullMessagesResponse": Relied("what is handed over", fields=("message_object_trees",)),
    f"{PROTO}.fleet_pb2.PushMessagesRequest": Relied(
        "the announcement of a reply", fields=("node", "messages_list", "message_object_trees")
    ),
    f"{PROTO}.fleet_pb2.PushMessagesResponse": Relied("nothing is wanted of it", fields=("objects_to_push",)),
    f"{PROTO}.message_pb2.ConfirmMessageReceivedResponse": Relied("nothing to say"),
    f"{PROTO}.message_pb2.PullObjectResponse": Relied(
        "an object, or that it came", fields=("object_found", "object_available", "object_content")
    ),
    "flwr.superlink.servicer.fleet.fleet_handlers": Relied(
        "serving a node its own messages",
        has=("pull_messages", "pull_object", "confirm_message_received", "push_messages"),
    ),
    "flwr.superlink.extensions": Relied("the guard's place, before all else", has=("get_middleware",)),
    "flwr.superlink.routers.fleet.node_auth": Relied(
        "401 for a key that nobody enrolled", has=("authenticate_node", "NodeAuthMiddleware")
    ),
    "flwr.superlink.routers.fleet.node_auth.authenticate_node": Relied("the same", takes=("request",)),
    "flwr.superlink.dependencies.linkstate.get_linkstate": Relied("which keys are enrolled", takes=("request",)),
    "flwr.superlink.cli.flower_superlink.flower_superlink": Relied("the SuperLink itself"),
    "flwr.supercore.corestate.sql_corestate.SqlCoreState": Relied(
        "ending tasks of which nobody heard, once a second", has=("_cleanup_expired_task_tokens",)
    ),
    "flwr.supercore.dependencies.runtime.get_runtime_handlers": Relied("answered without a thread", takes=("request",)),
    "flwr.supercore.dependencies.runtime.get_runtime_state": Relied("answered without a thread", takes=("request",)),
    "flwr.supercore.protobuf.translation.PROTOBUF_REQUEST_TYPES": Relied("the calls that answer with one message"),
    "flwr.supercore.protobuf.translation.get_protobuf_request": Relied("answered without a thread", takes=("request",)),
    "flwr.superlink.routers.control.middlewares.ControlAuthenticationMiddleware": _MIDDLEWARE,
    "flwr.superlink.routers.control.middlewares.ControlEventLogMiddleware": _MIDDLEWARE,
    "flwr.superlink.routers.control.middlewares.ControlLicenseMiddleware": _MIDDLEWARE,
    "flwr.superlink.routers.control.middlewares.ControlSensitiveResponseMiddleware": _MIDDLEWARE,
    "flwr.supercore.routers.runtime.tracing.RuntimeTracingMiddleware": _MIDDLEWARE,
    "flwr.superlink.routers.fleet.middlewares.FleetEventLogMiddleware": _MIDDLEWARE,
    "flwr.superlink.routers.fleet.node_auth.NodeAuthMiddleware": _MIDDLEWARE,
}  # fmt: skip


def test_what_the_coordinator_relies_on_is_as_it_was() -> None:
    assert changed(CONTRACT) == []


def test_all_that_the_adapters_import_is_written_down() -> None:
    assert unwritten(CONTRACT, ROOT, *ADAPTERS) == set()


def test_the_flags_are_there() -> None:
    main = importlib.import_module("flwr.superlink.cli.flower_superlink")
    parser: argparse.ArgumentParser = main._parse_args_run_superlink()
    known = {option for action in parser._actions for option in action.option_strings}
    ours = {
        "--host", "--port", "--ssl-certfile", "--ssl-keyfile", "--ssl-ca-certfile", "--database", "--isolation",
        "--superexec-auth-secret-file", "--enable-supernode-auth", "--disable-runtime-dependency-installation",
    }  # fmt: skip
    assert ours - known == set(), "flower-superlink lost these flags: server/flower/supervisor.py gives them"


def test_the_guard_is_asked_before_anything_of_flower() -> None:
    from flwr.superlink import extensions, main

    before = extensions.get_middleware
    extensions.get_middleware = lambda: (Middleware(Guard, secret="x", signed=None),)
    try:
        [first, *rest] = main._get_middleware()
    finally:
        extensions.get_middleware = before
    assert first.cls is Guard, "Flower does not put our middleware first: something answers before the guard"
    assert rest


def test_flower_asks_the_check_of_nodes_that_we_changed() -> None:
    from flwr.superlink.routers.fleet import node_auth

    names = node_auth.NodeAuthMiddleware.dispatch.__code__.co_names
    assert "authenticate_node" in names, (
        "Flower checks nodes elsewhere: server/flower/superlink.py changes nothing any more"
    )
    assert "verify_signature" in node_auth.authenticate_node.__code__.co_names


def test_flower_asks_the_handlers_and_the_web_server_that_we_changed() -> None:
    from flwr.superlink.routers.fleet import router

    for name in ("pull_messages", "pull_object", "confirm_message_received", "push_messages"):
        names = getattr(router, f"fleet_{name}").__code__.co_names
        assert "fleet_handlers" in names and name in names, f"{name} is handled elsewhere: server/flower/ownership.py"
    started = importlib.import_module("flwr.superlink.cli.flower_superlink")._run_superlink_http_api
    names = started.__code__.co_names
    assert "uvicorn" in names and "run" in names, "the web server is started elsewhere: server/flower/door.py"


@pytest.mark.parametrize("api", ["fleet", "control", "runtime"])
def test_a_middleware_that_is_passed_by_would_have_done_nothing(api: str) -> None:
    """On no path of an API that it has no work for: the answer is the handler's, and nothing is added."""
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    paths = [path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith(f"/v1/{api}/")]
    passed = [kind for kind, prefix in works_under().items() if not f"/v1/{api}/".startswith(prefix)]
    assert len(paths) > 5 and len(passed) >= 3
    for kind, path in [(kind, path) for kind in passed for path in paths]:
        given, state = Response(b"of the handler"), dict[str, object]()
        head = list(given.raw_headers)
        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "state": state, "app": Starlette(),
                 "server": ("localhost", 1), "query_string": b"", "scheme": "https"}  # fmt: skip

        async def handler(request: Request, given: Response = given) -> Response:
            return given

        answer = asyncio.run(kind(Starlette()).dispatch(Request(scope), handler))
        assert answer is given and given.raw_headers == head and not state, f"{kind.__name__} has work on {path} now"


def test_flower_has_the_middlewares_that_are_passed_by() -> None:
    from flwr.superlink import main

    there = {item.cls for item in main._get_middleware()}
    assert works_under().keys() <= there, "Flower asks others now: server/flower/patches.py changes nothing any more"


def test_the_database_is_opened_with_the_settings_that_we_changed() -> None:
    from flwr.supercore import sql_mixin

    assert "SQLITE_PRAGMAS" in sql_mixin._set_sqlite_pragmas.__code__.co_names, (
        "the wait for the database is set elsewhere"
    )
    assert "busy_timeout" in dict(sql_mixin.SQLITE_PRAGMAS)


def test_a_message_is_handed_over_where_we_changed_that() -> None:
    from flwr.server.superlink.linkstate import SqlLinkState
    from flwr.superlink.servicer.fleet import fleet_handlers

    assert "get_message_ins" in fleet_handlers.pull_messages.__code__.co_names
    assert "delivered_at" in inspect.getsource(SqlLinkState._claim_message_ins_rows)
    assert "delete" in inspect.getsource(fleet_handlers.confirm_message_received)


def test_every_path_of_flower_is_known() -> None:
    """A new call of the fleet API is closed until somebody has thought about it; one that is gone is told."""
    from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

    paths = {path for _, path in PROTOBUF_REQUEST_TYPES}
    fleet = {path for path in paths if path.startswith("/v1/fleet/")}
    assert fleet >= FLEET, "calls that sites make are gone"
    closed = {f"/v1/fleet/{call}" for call in ("register-node", "unregister-node", "get-run", "get-fab")}
    assert fleet - FLEET == closed, "the fleet API has other calls now: is a site to make them?"
    apis = {path.split("/")[2] for path in paths}
    assert apis == {"fleet", "control", "runtime"}, "Flower has another API on the port"
    assert {"/health"} == OPEN - FLEET


def test_the_grid_keeps_what_ours_reads(tmp_path: Path) -> None:
    """Names without a type: set in HttpGrid's constructor, read in FleetGrid."""
    source = inspect.getsource(HttpGrid)
    for name in ("self._cert", "self._token", "self._client", "self.node"):
        assert name in source, f"HttpGrid has no {name} any more: FleetGrid reads it"
    (tmp_path / "ca").write_text("")
    place = Place("127.0.0.1:1", tmp_path / "ca", tmp_path / "control", tmp_path / "executor")
    grid = FleetGrid(place, "token", threading.Event(), lambda seconds: None)
    assert (grid._cert, grid._token) == (b"", "token")
