"""TLS of today, and none without the guard: a SuperLink that answers without it is not left running."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from common.errors import RunError
from server.flower.supervisor import EXECUTOR, _require_guarded
from tests.support.deployment import environment, free_port, wait_for
from tests.support.superlink import RunningSuperLink


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
