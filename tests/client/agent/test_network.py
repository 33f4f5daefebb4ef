"""The agent's process: it answers without any network, and listens nowhere but on its socket."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.messages import JoinReply
from tests.support.agent import AgentSite, answered, sent
from tests.support.deployment import MAY_UNSHARE, Process, in_own_network
from tests.support.proc import inet_sockets, proc, unix_sockets

TRY = """
import errno, socket, sys
for family, address in ((2, ("127.0.0.1", int(sys.argv[1]))), (2, ("192.0.2.1", 443)), (10, ("::1", int(sys.argv[1])))):
    try:
        with socket.socket(family) as there:
            there.settimeout(3)
            there.connect(address)
        print("connected")
    except OSError as problem:
        print("unreachable" if problem.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL) else "timeout")
"""


@pytest.fixture(scope="module")
def process(site: AgentSite) -> Iterator[Process]:
    """Without any network, where this user may take it away."""
    with site.process(in_own_network) as agent:
        yield agent


def test_the_agent_listens_nowhere_but_on_its_socket(site: AgentSite, process: Process) -> None:
    assert isinstance(answered(site.socket, sent(site.join())), JoinReply)
    assert str(site.socket) in unix_sockets(process.pid)
    assert inet_sockets(process.pid) == set()


@pytest.mark.skipif(not MAY_UNSHARE, reason="this user may not make a network namespace")
def test_without_any_network_the_agent_answers_and_reaches_nobody(site: AgentSite, process: Process) -> None:
    assert isinstance(answered(site.socket, sent(site.join())), JoinReply)
    own = proc(process.pid) / "ns" / "net"
    assert own.readlink() != Path("/proc/self/ns/net").readlink()
    interfaces = (proc(process.pid) / "net" / "dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert reaches(port).startswith("connected"), "otherwise what follows proves nothing"
        assert set(reaches(port, "nsenter", f"--net={own}").split()) == {"unreachable"}


def reaches(port: int, *wrap: str) -> str:
    command = [*wrap, sys.executable, "-c", TRY, str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
