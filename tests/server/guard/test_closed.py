"""The SuperLink from outside: nothing but the fleet API and the health check, whatever the path, host or proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES

from server.flower.guard import FLEET, HEADER, LONGEST_BODY
from tests.support.proxy import ReverseProxy
from tests.support.strangers import START, an_app, runs
from tests.support.superlink import RunningSuperLink

CONTROL_CALLS = sorted(path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/control/"))
RUNTIME_CALLS = sorted(path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/runtime/"))
CLOSED_FLEET = ["/v1/fleet/register-node", "/v1/fleet/unregister-node", "/v1/fleet/get-fab", "/v1/fleet/get-run"]
CLOSED = [
    *CONTROL_CALLS, *RUNTIME_CALLS, *CLOSED_FLEET,
    "/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc", "/v1/responses", "/v1/responses/1", "/", "/v1",
]  # fmt: skip
SAMPLE = [START, "/v1/control/list-runs", "/v1/runtime/acquire-task", "/v1/fleet/get-fab"]
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


Headers = Mapping[str, str] | Sequence[tuple[str, str | bytes]]
NOT_THE_SECRET: dict[str, Callable[[str], Headers]] = {
    "nothing": lambda secret: {HEADER: ""},
    "a digit": lambda secret: {HEADER: "0"},
    "too short": lambda secret: {HEADER: secret[:-1]},
    "too long": lambda secret: {HEADER: secret + "0"},
    "in capitals": lambda secret: {HEADER: secret.upper() + " "},
    "twice in one": lambda secret: {HEADER: f"{secret}, {secret}"},
    "as a bearer's": lambda secret: {HEADER: f"Bearer {secret}"},
    "backwards": lambda secret: {HEADER: secret[::-1]},
    "no ASCII": lambda secret: [(HEADER, ("ÿ" * 64).encode("latin-1"))],
    "two of it": lambda secret: [(HEADER, secret), (HEADER, secret)],
    "a wrong one before it": lambda secret: [(HEADER, "0"), (HEADER, secret)],
    "elsewhere": lambda secret: {"Cookie": f"{HEADER}={secret}", "Authorization": f"Bearer {secret}"},
}


@pytest.mark.parametrize("what", NOT_THE_SECRET)
def test_whatever_is_not_the_secret_is_refused(superlink: RunningSuperLink, what: str) -> None:
    for path in SAMPLE:
        assert superlink.post(path, NOT_THE_SECRET[what](superlink.secret)) == 403, path


def test_neither_the_executors_secret_nor_one_in_the_query_opens_anything(superlink: RunningSuperLink) -> None:
    for path in SAMPLE:
        assert superlink.post(path, {HEADER: superlink.executor}) == 403, path
        assert superlink.post(f"{path}?{HEADER}={superlink.secret}") == 403, path


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
    for path, status in ((START, 403), ("/v1/fleet/pull-messages", 401), ("/health", 200)):
        assert superlink.post(path, upgrade, method="GET") == status, path  # 101 would be another protocol


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
        assert superlink.post("/v1/fleet/push-object", [("Content-Length", text)]) in (400, 413)
    assert superlink.post("/health", method="GET") == 200


@pytest.mark.parametrize("tidies", [False, True], ids=["as it comes", "path tidied"])
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
