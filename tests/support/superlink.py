"""A coordinator's SuperLink for real, without any site: started as `wardround coordinator up` starts it."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE

from common.identity.node_key import generate, public_of
from common.identity.roster import SigningKey
from server.consortium.consortium import Consortium
from server.flower.control import Nodes, Place, by_site
from server.flower.guard import HEADER
from server.flower.supervisor import CONTROL, EXECUTOR, LOG, Coordinator, node_keys, place_of
from tests.support.deployment import free_port, wait_for
from tests.support.enrolment import request


@dataclass
class RunningSuperLink:
    """The SuperLink of the consortium in `folder`, with sites that only exist as node keys."""

    folder: Path
    keys: dict[str, bytes] = field(default_factory=dict)  # site -> OpenSSH private key
    coordinator: Coordinator | None = None

    @property
    def consortium(self) -> Consortium:
        return Consortium.read(self.folder)

    @property
    def place(self) -> Place:
        return place_of(self.consortium)

    @property
    def port(self) -> int:
        return self.consortium.port

    @property
    def resident(self) -> float:
        """Megabytes that its process has in memory."""
        assert self.coordinator is not None and self.coordinator.process is not None
        status = Path(f"/proc/{self.coordinator.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def descriptors(self) -> int:
        """Files and connections that its process has open."""
        assert self.coordinator is not None and self.coordinator.process is not None
        return len(list(Path(f"/proc/{self.coordinator.process.pid}/fd").iterdir()))

    @property
    def log(self) -> int:
        """Bytes of what it wrote into its log."""
        return (self.consortium.state / LOG).stat().st_size

    def opened(self) -> ssl.SSLSocket:
        """A connection over TLS."""
        plain = socket.create_connection(("127.0.0.1", self.port), 20)
        return self.context().wrap_socket(plain, server_hostname="127.0.0.1")

    @property
    def secret(self) -> str:
        """Of the guard, of this start."""
        return (self.consortium.state / CONTROL).read_text()

    @property
    def executor(self) -> str:
        return (self.consortium.state / EXECUTOR).read_text()

    def admit(self, site: str) -> bytes:
        """A site with a new node key, which is returned."""
        self.keys[site] = key = generate()
        self.consortium.admit(request(site, SigningKey.generate(), public_of(key, "node.key")))
        return key

    def admitted(self) -> set[str]:
        """Sites that the SuperLink lets in now."""
        return set(by_site(Nodes(self.place).listed(), node_keys(self.consortium)))

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.consortium.ca_file))

    def post(
        self, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str | bytes]] = (), body: bytes = b"", *,
        method: str = "POST", port: int | None = None,
    ) -> int:  # fmt: skip
        """The status that the path, sent as it stands, is answered with. `port`: of a proxy without TLS."""
        connection: http.client.HTTPConnection
        if port is None:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=self.context())
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        given = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in given}
        connection.putrequest(method, path, skip_host="host" in names)
        if not names & {"content-length", "transfer-encoding"}:
            connection.putheader("Content-Length", str(len(body)))
        if "content-type" not in names:
            connection.putheader("Content-Type", PROTOBUF_MEDIA_TYPE)
        for name, value in given:
            connection.putheader(name, value)
        connection.endheaders(body)
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """The first bytes of the answer to these bytes, over TLS."""
        with self.opened() as stream:
            stream.sendall(data)
            return stream.recv(4096)

    def known(self) -> dict[str, str]:
        """The header that the guard wants."""
        return {HEADER: self.secret}


@contextmanager
def running_superlink(
    folder: Path, sites: Sequence[str] = ("north", "south")
) -> Iterator[tuple[RunningSuperLink, Coordinator]]:
    """Until the block ends; with the coordinator that looks after it."""
    Consortium.new(folder, "lab", "127.0.0.1", port=free_port())
    superlink = RunningSuperLink(folder)
    for site in sites:
        superlink.admit(site)
    superlink.coordinator = coordinator = Coordinator(folder, "127.0.0.1")
    thread = threading.Thread(target=coordinator.up, name="coordinator", daemon=True)
    thread.start()
    try:
        wait_for(lambda: is_healthy(superlink), "SuperLink")
        wait_for(lambda: superlink.admitted() == set(sites), "sites admitted")
        yield superlink, coordinator
    finally:
        coordinator.stopped.set()
        thread.join(30)
        assert not thread.is_alive() and coordinator.process is not None and coordinator.process.poll() is not None


def is_healthy(superlink: RunningSuperLink) -> bool:
    """Whether it answers from outside."""
    try:
        return superlink.post("/health", method="GET") == 200
    except OSError:
        return False
