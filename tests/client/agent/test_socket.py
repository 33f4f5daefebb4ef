"""Where the agent's socket may lie, and whom it lets in."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from client.relay import LONGEST_PATH, RelayClient, RelayServer
from common.errors import SiteFileError
from common.messages import ActivityReply
from tests.support.agent import AgentSite
from tests.support.other_user import open_folder


def echo(socket: Path) -> RelayServer:
    """Answers each request with itself."""
    return RelayServer(socket, bytes, lambda: ActivityReply("idle", 0, 0, 0), largest=lambda: 10)


@pytest.mark.parametrize("end", [RelayClient, echo], ids=["client", "server"])
def test_a_path_that_no_socket_can_have_is_refused_in_words(tmp_path: Path, end: Callable[[Path], object]) -> None:
    with pytest.raises(SiteFileError, match=r"socket: .* more than 107 bytes. Choose a shorter one"):
        end(tmp_path / ("é" * LONGEST_PATH) / "agent.sock")


def test_the_longest_path_that_is_let_through_works() -> None:
    with open_folder() as folder:
        socket = folder / ("s" * (LONGEST_PATH - len(os.fsencode(folder)) - 1))
        server = echo(socket)
        server.start()
        with closing(RelayClient(socket)) as client:
            assert len(os.fsencode(socket)) == LONGEST_PATH and client.answer(b"abc") == b"abc"
        server.stop()
        assert not socket.exists()


def test_the_socket_is_its_owners_and_its_groups() -> None:
    """And what the process writes later has the mode that it would have had."""
    before = os.umask(0o023)
    try:
        with open_folder() as folder:
            server = echo(folder / "run" / "agent.sock")
            server.start()
            socket, parent = (folder / "run" / "agent.sock").stat(), (folder / "run").stat()
            server.stop()
        assert stat.S_ISSOCK(socket.st_mode) and stat.S_IMODE(socket.st_mode) == 0o660
        assert stat.S_IMODE(parent.st_mode) & 0o007 == 0
    finally:
        assert os.umask(before) == 0o023


def test_a_folder_that_everybody_may_write_to_holds_no_socket() -> None:
    """Another user would put his own there, and be given what the coordinator asks of this site."""
    with open_folder() as folder:
        folder.chmod(0o1777)
        with pytest.raises(SiteFileError, match="everybody may write"):
            echo(folder / "agent.sock").start()
        assert not list(folder.iterdir())


def test_a_crash_of_the_agent_leaves_no_image_of_its_memory(site: AgentSite) -> None:
    with site.process() as process:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0", limits)
