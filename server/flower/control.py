"""The coordinator's side of Flower 1.41, but for the run: where the SuperLink is, its secrets, its control API.

All of its internals are in here and in `server/flower/grid.py`.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, UnregisterNodeRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.interceptors.http.superexec_auth import SuperExecAuthHttpInterceptor
from flwr.supercore.interceptors.http.utils import add_headers
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufClientInterceptor, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient

from common.disk.atomic_file import whole_file
from common.errors import RunError
from common.network.retries import answered, is_untrusted
from server.flower.guard import HEADER

R = TypeVar("R")

PATIENCE_SECONDS = 600.0  # how long a server that does not answer is waited for
_ACQUIRE = "/flwr.proto.Runtime/AcquireTask"


class RefusedByServerError(RunError):
    """The server answers, and refuses a call. With a run's own token: it has ended the run."""


@dataclass(frozen=True)
class Place:
    """Where the SuperLink answers, and the files that hold its secrets of this start."""

    address: str  # host:port
    ca: Path
    control_secret: Path
    executor_secret: Path

    def clients(self) -> tuple[ControlHttpClient, RuntimeHttpClient]:
        """Of the control API, and of the runtime API as an executor."""
        _call_directly(self.address)
        executor = SuperExecAuthHttpInterceptor(
            master_secret=_secret(self.executor_secret).encode("ascii"), protected_methods={_ACQUIRE}
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

    def answer(
        self,
        call: Callable[[], R],
        *,
        stopped: threading.Event | None = None,
        waiting: Callable[[float], None] | None = None,
    ) -> R:
        """The server's answer to a call, waited for while it is away. RunError when there is none, or a refusal."""
        try:
            return answered(call, seconds=PATIENCE_SECONDS, stopped=stopped, waiting=waiting)
        except httpx.HTTPStatusError as error:
            raise RefusedByServerError(
                f"The coordinator's server refused a call (status {error.response.status_code}). It is of another "
                "folder, or it ended this run, because it heard nothing of it for a minute: then `wardround resume "
                "NAME` goes on. Its log says why: state/superlink.log."
            ) from None
        except httpx.HTTPError as error:
            raise RunError(
                f"The coordinator's server does not answer at {self.address} ({_fault(error)}). Start it with "
                "`wardround coordinator up`."
            ) from None


def _call_directly(address: str) -> None:
    """The server is on this machine: what this process makes of HTTP clients from now on calls it through no proxy."""
    host = address.rpartition(":")[0].strip("[]")
    but = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if host not in but.split(","):
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, (but, host)))


class _GuardSecret:
    """Read again for every call: a SuperLink that was started again has another one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        add_headers(context.request, {HEADER: _secret(self._file)})
        return call_next(context)


def _secret(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError as problem:
        raise RunError(
            f"{file}: cannot be read ({problem.strerror}). The coordinator's server makes it when it starts: "
            "`wardround coordinator up`, as the same user."
        ) from None


def _fault(error: httpx.HTTPError) -> str:
    if is_untrusted(error):
        return "a server of another consortium does: its certificate is of another authority"
    return type(error).__name__


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

    def __init__(self, place: Place, waiting: Callable[[float], None] | None = None) -> None:
        """`waiting`: is told for how many seconds the server has not answered."""
        self._place, self._waiting = place, waiting
        self._control = place.clients()[0]

    def listed(self) -> list[Node]:
        """All that are registered now."""
        reply = self._place.answer(lambda: self._control.ListNodes(ListNodesRequest()), waiting=self._waiting)
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


def make_secret(path: Path, size: int = 32) -> None:
    """A new secret, hexadecimal, in a file that only this user can read, in place of the one before."""
    with whole_file(path) as draft:
        draft.write_text(secrets.token_hex(size), encoding="ascii")


def stored_key(openssh: bytes) -> bytes:
    """A node's public key in the form that the SuperLink stores."""
    key = load_ssh_public_key(openssh)
    return public_key_to_bytes(key)  # type: ignore[arg-type]  # on P-384, as it was admitted


def by_site(nodes: Iterable[Node], keys: Mapping[str, bytes]) -> dict[str, Node]:
    """site -> its node, by the keys that the consortium admitted."""
    of_key = {node.key: node for node in nodes}
    return {site: of_key[key] for site, key in keys.items() if key in of_key}
