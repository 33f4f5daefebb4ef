"""The files of the coordinator's folder, one by one: names, who may read them, what is said when one is missing."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import field
from pathlib import Path

from common import schema as border
from common.disk.atomic_file import PUBLIC, make_private, write_whole
from common.disk.lock import locked
from common.disk.whole_folder import is_taken, whole_folder
from common.errors import IdentityError, RunError
from common.identity.enrolment import Host, Name, Port
from common.identity.node_key import require_node_key
from common.schema import schema
from server.consortium.certificates import LOOPBACK, Issued

CONSORTIUM_FILE, ROSTER_FILE = "consortium.yaml", "roster.yaml"
DEFAULT_PORT = 9443


@schema
class ConsortiumFile:
    """consortium.yaml: its name, where sites reach the coordinator, and the other names of its server."""

    format: int = border.format_number(1)
    name: Name
    host: Host
    port: Port = DEFAULT_PORT
    also: list[Host] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """All that the server's certificate is for."""
        return [self.host, *self.also, *LOOPBACK]


@contextmanager
def members_locked(folder: Path) -> Iterator[None]:
    """While nobody else changes who is a member."""
    state = folder / "state"
    make_private(state)
    with locked(state / "members.lock"):
        yield


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A draft beside `folder` that takes its place when it is done. RunError if something is there already."""
    if is_taken(folder):
        raise RunError(f"{folder}: is there already and not an empty folder. Choose another with --at.")
    with ExitStack() as stack:
        try:
            draft = stack.enter_context(whole_folder(folder))
        except OSError as problem:
            raise RunError(f"{folder}: cannot be made ({problem.strerror}). Choose another with --at.") from None
        yield draft


def write_server(folder: Path, server: Issued) -> None:
    """The server's certificate and its key."""
    write_whole(folder / "server.key", server.key)
    write_whole(folder / "server.crt", server.certificate, PUBLIC)


def node_file(folder: Path, site: str) -> Path:
    """Where a site's public node key lies."""
    return folder / "nodes" / f"{site}.pub"


def node_key(folder: Path, site: str) -> bytes:
    """OpenSSH text, canonical. RunError when it is not there, IdentityError when it is none."""
    text = read_file(node_file(folder, site)).decode(errors="replace").strip()
    require_node_key(text, f"site {site!r}")
    return text.encode()


def read_file(path: Path) -> bytes:
    """RunError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as problem:
        raise RunError(f"{path}: cannot be read ({problem.strerror}). Take it back from a backup.") from None


def read_private(path: Path) -> bytes:
    """As `read_file`; IdentityError when others than its owner may read it."""
    data = read_file(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise IdentityError(f"{path}: others than its owner may read it. Run chmod 600 on it.")
    return data
