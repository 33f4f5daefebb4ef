"""What the kernel tells of another process, in /proc."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"  # proc_net_tcp(5)


@dataclass(frozen=True)
class InetSocket:
    kind: str  # tcp, tcp6, udp, udp6
    local: int  # ports
    remote: int
    listens: bool


def proc(pid: int) -> Path:
    return Path(f"/proc/{pid}")


def status(pid: int) -> dict[str, str]:
    lines = (proc(pid) / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def opened(pid: int) -> set[str]:
    """What its file descriptors lead to: paths, and socket:[inode]. It may close some while they are read."""
    found = set[str]()
    for path in (proc(pid) / "fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(path.readlink()))
    return found


def inet_sockets(pid: int) -> set[InetSocket]:
    """Those that it holds, of its own network namespace."""
    links = opened(pid)
    return {found for inode, found in _inet_table(pid) if f"socket:[{inode}]" in links}


def _inet_table(pid: int) -> Iterator[tuple[str, InetSocket]]:
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in (proc(pid) / "net" / kind).read_text().splitlines()[1:]:
            _, local, remote, state, *rest = line.split()
            yield rest[5], InetSocket(kind, _port(local), _port(remote), listens=state == _LISTEN)


def _port(address: str) -> int:
    return int(address.split(":")[1], 16)


def unix_sockets(pid: int) -> set[str]:
    """Paths on which it listens or talks."""
    links = opened(pid)
    lines = [line.split() for line in (proc(pid) / "net" / "unix").read_text().splitlines()[1:]]
    return {words[7] for words in lines if len(words) > 7 and f"socket:[{words[6]}]" in links}


def in_memory(pid: int, marks: Sequence[bytes]) -> set[bytes]:
    """Those of the marks that stand in its writable memory."""
    found = set[bytes]()
    with (proc(pid) / "mem").open("rb", 0) as memory:
        for line in (proc(pid) / "maps").read_text().splitlines():
            span, modes = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if modes.startswith("rw"):
                memory.seek(start)
                content = memory.read(end - start)
                found |= {mark for mark in marks if mark in content}
    return found
