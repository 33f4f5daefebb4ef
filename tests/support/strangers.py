"""Flower's own tools, as somebody has them who was never admitted: with the CA's certificate, and code to run."""

from __future__ import annotations

from typing import Any

from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.superexec_auth import SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from tests.support.superlink import RunningSuperLink

START = "/v1/control/start-run"


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
    interceptors: list[Any] = [RuntimeVersionHttpInterceptor(component_name="flower-superexec"), executor]
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
