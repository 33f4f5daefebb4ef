"""The SuperLink from outside: what it answers to whom. A real one, behind the real guard, over TLS."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.superexec_auth import SuperExecAuthHttpInterceptor
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES
from flwr.supercore.runtime import RuntimeHttpClient

import client.fleet
from client.fleet import Fleet
from common.errors import IdentityError, RunError
from common.node_key import generate
from server.coordinator import CONTROL, DATABASE, EXECUTOR, Coordinator, _require_guarded
from server.grid import FlowerRun
from server.guard import FLEET, HEADER, LONGEST_BODY
from tests.support.deployment import environment, free_port, wait_for
from tests.support.other_user import as_nobody, needs_root, open_folder, readable_by_nobody
from tests.support.proxy import ReverseProxy
from tests.support.superlink import RunningSuperLink, is_healthy, running_superlink

CONTROL_CALLS = sorted(path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/control/"))
RUNTIME_CALLS = sorted(path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/runtime/"))
CLOSED_FLEET = ["/v1/fleet/register-node", "/v1/fleet/unregister-node", "/v1/fleet/get-fab", "/v1/fleet/get-run"]
CLOSED = [
    *CONTROL_CALLS, *RUNTIME_CALLS, *CLOSED_FLEET,
    "/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc", "/v1/responses", "/v1/responses/1", "/", "/v1",
]  # fmt: skip
START = "/v1/control/start-run"
ODD_PATHS = [
    "//v1/control/start-run", "/v1//control/start-run", "/v1/control/start-run/", "/v1/control/start-run//",
    "/v1/./control/start-run", "/v1/fleet/../control/start-run", "/health/../v1/control/start-run",
    "/v1/fleet/pull-messages/../../control/start-run", "/v1/fleet/%2e%2e/control/start-run",
    "/v1/fleet/..%2fcontrol/start-run", "/v1%2fcontrol%2fstart-run", "/v1/control/%73tart-run",
    "/%76%31/control/start-run", "/V1/CONTROL/START-RUN", "/v1/Control/start-run", "/v1/fleet/Get-Fab",
    "/v1/fleet/get%2dfab", "/v1/fleet/register-node/", "/v1/fleet/pull-messages/", "/v1/fleet/", "/v1/fleet",
    "/health/", "/Health", "/health;/v1/control/start-run", "/v1/control/start-run;/health",
    "/v1/control/start-run?/health", "/v1/control/start-run?x=/v1/fleet/pull-messages", "/v1/control/start-run%00",
    "/health%00/../v1/control/start-run", "/v1\\control\\start-run", "/v1/control/start-run%23/health",
    "https://127.0.0.1/v1/control/start-run", "http://health/v1/control/start-run",
]  # fmt: skip


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[RunningSuperLink, Coordinator]]:
    with open_folder() as folder, pytest.MonkeyPatch.context() as patch:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            patch.delenv(name, raising=False)
        with running_superlink(folder / "consortium") as running:
            yield running


@pytest.fixture(scope="module")
def superlink(started: tuple[RunningSuperLink, Coordinator]) -> RunningSuperLink:
    return started[0]


def stock_control(superlink: RunningSuperLink) -> ControlHttpClient:
    """What `flwr run` uses: all that it needs is the CA's certificate."""
    interceptors = [RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
    address, ca = superlink.consortium.address, superlink.consortium.ca_certificate
    return ControlHttpClient.from_server_address(address, False, ca, interceptors)


def stock_executor(superlink: RunningSuperLink, *, secret: str) -> RuntimeHttpClient:
    """What `flower-superexec` uses, with its secret."""
    executor = SuperExecAuthHttpInterceptor(
        master_secret=secret.encode(), protected_methods={"/flwr.proto.Runtime/AcquireTask"}
    )
    interceptors = [RuntimeVersionHttpInterceptor(component_name="flower-superexec"), executor]
    address, ca = superlink.consortium.address, superlink.consortium.ca_certificate
    return RuntimeHttpClient.from_server_address(address, False, ca, interceptors)


def an_app() -> StartRunRequest:
    """A run with code of whoever starts it."""
    toml = (
        b'[project]\nname = "evil"\nversion = "1.0.0"\ndescription = ""\nlicense = "Apache-2.0"\n'
        b'[tool.flwr.app]\npublisher = "evil"\n[tool.flwr.app.components]\n'
        b'serverapp = "evil:app"\nclientapp = "evil:app"\n'
    )
    content, _ = build_fab_from_files({"pyproject.toml": toml, "evil.py": b"app = None\n"})
    return StartRunRequest(fab=fab_to_proto(Fab(content[:1].hex() * 32, content, {})))


def runs(superlink: RunningSuperLink) -> set[int]:
    """Numbers of all runs that the SuperLink has, as one who knows the secret sees them."""
    return set(superlink.place.clients()[0].ListRuns(ListRunsRequest()).run_dict)


# ---------------------------------------------------------------------------------------------- what is closed, to whom


def test_no_secret_in_arguments_environment_or_log(started: tuple[RunningSuperLink, Coordinator]) -> None:
    superlink, coordinator = started
    assert coordinator.process is not None
    process = Path(f"/proc/{coordinator.process.pid}")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    shown += (superlink.consortium.state / "superlink.log").read_bytes()
    assert b"server.superlink" in shown
    for secret in (superlink.secret, superlink.executor):
        assert secret.encode() not in shown


def test_health_answers_and_nothing_else_is_open(superlink: RunningSuperLink) -> None:
    assert superlink.post("/health", method="GET") == 200
    assert len(CONTROL_CALLS) > 30 and len(RUNTIME_CALLS) > 10
    for path in CLOSED:
        for method in ("POST", "GET", "PUT", "OPTIONS", "HEAD"):
            assert superlink.post(path, method=method) == 403, f"{method} {path}"


def test_the_secret_opens_control_and_runtime(superlink: RunningSuperLink) -> None:
    """Otherwise the refusals in this file would prove nothing."""
    for path in (*CONTROL_CALLS[:3], *RUNTIME_CALLS[:3], "/openapi.json"):
        assert superlink.post(path, superlink.known()) != 403, path


@pytest.mark.parametrize("path", [START, "/v1/control/list-runs", "/v1/runtime/acquire-task", "/v1/fleet/get-fab"])
def test_whatever_is_not_the_secret_is_refused(superlink: RunningSuperLink, path: str) -> None:
    secret = superlink.secret
    wrong = [
        "", "0", secret[:-1], secret + "0", secret.upper() + " ", f"{secret}, {secret}", f"Bearer {secret}",
        secret[::-1], "ÿ" * 64, superlink.executor,
    ]  # fmt: skip
    for value in wrong:
        assert superlink.post(path, [(HEADER, value.encode("latin-1"))]) == 403, value
    assert superlink.post(path, [(HEADER, secret), (HEADER, secret)]) == 403
    assert superlink.post(path, [(HEADER, "0"), (HEADER, secret)]) == 403
    assert superlink.post(path, {"Cookie": f"{HEADER}={secret}", "Authorization": f"Bearer {secret}"}) == 403
    assert superlink.post(f"{path}?{HEADER}={secret}") == 403


@pytest.mark.parametrize("path", ODD_PATHS)
def test_odd_paths_lead_nowhere(superlink: RunningSuperLink, path: str) -> None:
    before = runs(superlink)
    assert superlink.post(path, body=an_app().SerializeToString()) in (400, 403)
    assert runs(superlink) == before


@pytest.mark.parametrize("host", ["127.0.0.1/health?", "health#", "user@127.0.0.1", "a/v1/fleet/pull-messages?", ""])
def test_an_odd_host_opens_nothing(superlink: RunningSuperLink, host: str) -> None:
    assert superlink.post(START, {"Host": host}) in (400, 403)
    assert superlink.post("/v1/fleet/pull-messages", {"Host": host}) in (400, 401)


def test_a_websocket_is_refused(superlink: RunningSuperLink) -> None:
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }  # fmt: skip
    for path in (START, "/health", "/v1/fleet/pull-messages"):
        assert 400 <= superlink.post(path, upgrade, method="GET") < 500, path


def test_a_second_request_hidden_in_the_first_is_not_heard(superlink: RunningSuperLink) -> None:
    before, body = runs(superlink), an_app().SerializeToString()
    hidden = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (START.encode(), len(body)) + body
    head = b"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: a\r\nContent-Type: application/protobuf\r\n"
    for framing in (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 9\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\n\r\n",
    ):
        answer = superlink.raw(head + framing + hidden)
        assert answer.split(b" ")[1] in (b"400", b"401", b"413"), answer
    assert runs(superlink) == before


def test_a_body_that_is_too_large_is_not_read(superlink: RunningSuperLink) -> None:
    """No byte of it is sent: who waits for it would not answer."""
    for path in sorted(FLEET):
        assert superlink.post(path, {"Content-Length": str(LONGEST_BODY + 1)}) == 413, path
    assert superlink.post("/health", {"Content-Length": str(1 << 40)}) == 413
    assert superlink.post("/v1/fleet/push-object", {"Transfer-Encoding": "chunked"}) == 413
    for text in ("-1", "1e9", "0x10", "٣".encode()):
        assert superlink.post("/v1/fleet/push-object", [("Content-Length", text)]) in (400, 413)  # type: ignore[list-item]
    assert superlink.post("/health", method="GET") == 200


# --------------------------------------------------------------------------------------------------------------- nodes


def test_a_fleet_call_without_a_signature_is_401(superlink: RunningSuperLink) -> None:
    for path in sorted(FLEET):
        assert superlink.post(path) == 401, path


def test_the_guards_secret_is_no_signature(superlink: RunningSuperLink) -> None:
    for path in sorted(FLEET):
        assert superlink.post(path, superlink.known()) == 401, path


def fleet(superlink: RunningSuperLink, key: bytes) -> Fleet:
    return Fleet(superlink.consortium.address, superlink.consortium.ca_certificate, key, stopped=threading.Event())


def statuses(node: Fleet) -> dict[str, int]:
    """What the SuperLink answers to this node's calls."""
    client, public = node._client, node._public
    calls = {
        "activate": lambda: client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=15)),
        "pull": lambda: client.PullMessages(PullMessagesRequest(node=Node(node_id=node.node))),
        "beat": node.beat,
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
            found[name] = 200
        except httpx.HTTPStatusError as error:
            found[name] = error.response.status_code
    return found


def test_an_unenrolled_key_is_401_everywhere(superlink: RunningSuperLink) -> None:
    node = fleet(superlink, generate())
    assert statuses(node) == {"activate": 401, "pull": 401, "beat": 401}
    with pytest.raises(IdentityError, match="does not know this site's node key"):
        node.activate()


def test_an_enrolled_key_is_let_in_and_cannot_speak_for_another(superlink: RunningSuperLink) -> None:
    north, south = (fleet(superlink, superlink.keys[site]) for site in ("north", "south"))
    mine, theirs = north.activate(), south.activate()
    assert mine != theirs and north.beat() and north.pull() is None
    stranger = fleet(superlink, generate())
    for other in (north, stranger):
        other.node = theirs
        with pytest.raises(httpx.HTTPStatusError) as refused:
            other.beat()
        assert refused.value.response.status_code == 401
    north.node = mine
    north.leave()
    south.leave()


def test_a_node_that_is_still_connected_is_not_called_unknown(superlink: RunningSuperLink) -> None:
    """A connector that was killed and comes back: 401 would say that it is not enrolled."""
    north = fleet(superlink, superlink.keys["north"])
    north.activate()
    again = fleet(superlink, superlink.keys["north"])
    assert statuses(again)["activate"] == 412
    with pytest.raises(IdentityError, match="holds this site for connected"):
        again.activate()
    assert fleet(superlink, superlink.keys["north"]).activate(before=north.node) == north.node
    north.leave()


def test_a_removed_site_is_401(superlink: RunningSuperLink) -> None:
    key = superlink.admit("gone")
    wait_for(lambda: "gone" in superlink.admitted(), "admitted")
    node = fleet(superlink, key)
    assert node.activate()
    superlink.consortium.remove("gone")
    wait_for(lambda: set(statuses(node).values()) == {401}, "removed", 20)


# ------------------------------------------------------------------------------------------------------- a foreign run


def test_a_run_that_anybody_starts_does_not_exist(superlink: RunningSuperLink) -> None:
    before = runs(superlink)
    with pytest.raises(httpx.HTTPStatusError) as refused:
        stock_control(superlink).StartRun(an_app())
    assert refused.value.response.status_code == 403
    assert runs(superlink) == before


def test_nobody_else_takes_the_task_of_a_run(superlink: RunningSuperLink) -> None:
    """Not from outside with the executor's secret, nor past the guard without it."""
    ask = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
    inside = [*superlink.place.interceptors()]
    address, ca = superlink.consortium.address, superlink.consortium.ca_certificate
    with_guard = RuntimeHttpClient.from_server_address(address, False, ca, inside)
    superlink.place.clients()[0].StartRun(an_app())  # by one who knows the secret: now there is a task
    for executor, status in (
        (stock_executor(superlink, secret=superlink.executor), 403),
        (stock_executor(superlink, secret="0" * 64), 403),
        (with_guard, 401),
    ):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            executor.AcquireTask(ask)
        assert refused.value.response.status_code == status


def test_the_coordinators_own_run_exists(superlink: RunningSuperLink) -> None:
    before = runs(superlink)
    with FlowerRun(superlink.place) as grid:
        assert runs(superlink) - before == {grid.run.run_id}


# ----------------------------------------------------------------------------------------------------- the same machine


@pytest.mark.parametrize("tidies", [False, True])
def test_behind_a_reverse_proxy_on_this_host_everything_is_refused_alike(
    superlink: RunningSuperLink, tidies: bool
) -> None:
    before = runs(superlink)
    with ReverseProxy(superlink.port, str(superlink.consortium.ca_file), tidies=tidies) as proxy:
        assert superlink.post("/health", method="GET", port=proxy.port) == 200
        for path in CLOSED:
            assert superlink.post(path, port=proxy.port) == 403, path
        for path in [path for path in ODD_PATHS if path.startswith("/") and "\\" not in path and "%00" not in path]:
            status = superlink.post(path, body=an_app().SerializeToString(), port=proxy.port)
            assert status in (400, 401, 403) or (status == 405 and tidies), path
        for path in sorted(FLEET):
            assert superlink.post(path, port=proxy.port) == 401, path
    assert runs(superlink) == before


@needs_root
def test_another_local_user_can_neither_call_nor_read(
    superlink: RunningSuperLink, started: tuple[RunningSuperLink, Coordinator]
) -> None:
    before, state = runs(superlink), superlink.consortium.state
    closed = [state, *(state / name for name in (CONTROL, EXECUTOR, DATABASE)), superlink.consortium.server_key]
    open_to_all = superlink.folder.parent / "read-me"
    open_to_all.write_text("readable")
    closed += list((superlink.folder / "ca").glob("*.key"))
    assert readable_by_nobody([open_to_all, *closed]) == [open_to_all]
    assert started[1].process is not None
    of_process = Path(f"/proc/{started[1].process.pid}")
    assert readable_by_nobody([of_process / "environ", of_process / "mem", of_process / "cmdline"]) == [
        of_process / "cmdline"
    ]
    ask = (
        "context = ssl.create_default_context(cadata=sys.argv[2])\n"
        "for path in sys.argv[3:]:\n"
        "    there = http.client.HTTPSConnection('127.0.0.1', int(sys.argv[1]), context=context)\n"
        "    there.request('POST', path, body=b'', headers={'Content-Type': 'application/protobuf'})\n"
        "    print(there.getresponse().status)\n"
    )
    ca = superlink.consortium.ca_certificate.decode()
    said = as_nobody(
        ask, str(superlink.port), ca, START, "/v1/runtime/acquire-task", "/v1/fleet/get-fab", "/v1/fleet/pull-messages",
        imports="import http.client, ssl, sys, encodings.idna",
    )  # fmt: skip
    assert said.split() == ["403", "403", "403", "401"]
    assert runs(superlink) == before


# ----------------------------------------------------------------------------------------------------------------- TLS


def shake_hands(superlink: RunningSuperLink, version: ssl.TLSVersion) -> str | None:
    """The version that client and server agree on, if the client offers this one alone."""
    context = superlink.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", superlink.port), 20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        return stream.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_refused(superlink: RunningSuperLink) -> None:
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        with pytest.raises((ssl.SSLError, ConnectionResetError)) as refused:
            shake_hands(superlink, version)
        assert "NO_CIPHERS_AVAILABLE" not in str(refused.value), "the client did not even ask"
    assert shake_hands(superlink, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert shake_hands(superlink, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


def test_plain_http_is_not_answered(superlink: RunningSuperLink) -> None:
    with socket.create_connection(("127.0.0.1", superlink.port), 20) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"HTTP" not in plain.recv(4096)


def test_a_superlink_without_the_guard_is_not_left_running(superlink: RunningSuperLink, tmp_path: Path) -> None:
    """As a release of Flower would start that does not ask for our middleware any more: stock, with the same flags."""
    files, port = superlink.consortium, free_port()
    flags = ["--host", "127.0.0.1", "--port", str(port), "--isolation", "process", "--enable-supernode-auth"]
    flags += ["--ssl-certfile", str(files.server_certificate), "--ssl-keyfile", str(files.server_key)]
    flags += ["--ssl-ca-certfile", str(files.ca_file), "--superexec-auth-secret-file", str(files.state / EXECUTOR)]
    flags += ["--disable-runtime-dependency-installation"]
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "FLWR_HOME": str(tmp_path)}
    code = "from flwr.superlink.cli.flower_superlink import flower_superlink; flower_superlink()"
    with (tmp_path / "log").open("wb") as log, httpx.Client(verify=superlink.context(), trust_env=False) as client:
        stock = subprocess.Popen(
            [sys.executable, "-P", "-c", code, *flags], env=environment(**quiet), stdout=log, stderr=log
        )
        try:
            wait_for(lambda: _answers(client, port), "stock SuperLink")
            with pytest.raises(RunError, match="without its guard"):
                _require_guarded(client, f"127.0.0.1:{port}")
        finally:
            stock.kill()
            stock.wait()
        _require_guarded(client, files.address)


def _answers(client: httpx.Client, port: int) -> bool:
    try:
        return client.get(f"https://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("minutes", [-10, 10, 60 * 24])
def test_a_site_whose_clock_is_off_is_let_in(
    superlink: RunningSuperLink, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower takes five minutes of difference: the first call is refused, and the second is signed by its clock."""
    shift = datetime.timedelta(minutes=minutes)

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return super().now(tz) + shift

    asked: list[int] = []
    call = httpx.Client.send
    monkeypatch.setattr(httpx.Client, "send", lambda *a, **k: _noted(call(*a, **k), asked))
    names = {name: getattr(datetime, name) for name in ("UTC", "timedelta")}
    monkeypatch.setattr(client.fleet, "datetime", types.SimpleNamespace(datetime=Shifted, **names))
    node = fleet(superlink, superlink.keys["south"])
    assert node.activate() and node.beat() and node.pull() is None
    assert asked == [401, 200, 200, 200]
    node.leave()


def _noted(response: httpx.Response, asked: list[int]) -> httpx.Response:
    asked.append(response.status_code)
    return response


# ------------------------------------------------------------------------------------- last: it ends what was before it


def test_the_secrets_of_the_start_before_open_nothing(started: tuple[RunningSuperLink, Coordinator]) -> None:
    superlink, coordinator = started
    old, old_executor, process = superlink.secret, superlink.executor, coordinator.process
    assert process is not None and superlink.post("/v1/control/list-runs", {HEADER: old}) == 200
    process.kill()
    process.wait()
    wait_for(lambda: coordinator.process is not process, "another SuperLink")
    wait_for(lambda: is_healthy(superlink), "healthy again")
    assert superlink.secret != old and superlink.executor != old_executor
    assert superlink.post("/v1/control/list-runs", {HEADER: old}) == 403
    assert superlink.post("/v1/control/list-runs", superlink.known()) == 200
    with pytest.raises(httpx.HTTPStatusError):
        stock_executor(superlink, secret=old_executor).AcquireTask(AcquireTaskRequest())
