"""What strangers' connections cost the server: bytes of heads and bodies, time, connections, lines of its log."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import pytest

from server.flower.door import HEAD_BYTES, HEAD_SECONDS, STRANGERS
from tests.server.guard.test_nodes import fleet
from tests.support.superlink import RunningSuperLink

MEGABYTE = 1 << 20
START = b"GET /health HTTP/1.1\r\nHost: a\r\n"
PUSH = b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: a\r\nContent-Type: application/protobuf\r\n"


def pour(stream: ssl.SSLSocket, parts: Iterator[bytes], most: float) -> float:
    """Send until the server ends the connection, or for `most` seconds; how many seconds it took."""
    began = time.monotonic()
    with suppress(OSError):
        for part in parts:
            stream.sendall(part)
            if time.monotonic() - began >= most:
                break
    return time.monotonic() - began


def forever(part: bytes) -> Iterator[bytes]:
    while True:
        yield part


@contextmanager
def memory_stays(superlink: RunningSuperLink, megabytes: float) -> Iterator[None]:
    assert superlink.post("/health", method="GET") == 200
    before = superlink.resident
    yield
    assert superlink.resident - before < megabytes


ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "headers": (START, b"x-filler: " + b"a" * 4000 + b"\r\n"),
    "small headers": (START, b"a: b\r\n" * 1000),
    "one header": (START + b"x-filler: ", b"a" * 8192),
    "a path": (b"GET /", b"a" * 8192),
    "empty lines": (b"", b"\r\n" * 4096),
    "trailers": (PUSH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n" * 1000),
    "an extension of a chunk": (PUSH + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * 8192),
    "requests before an answer": (b"", START * 300 + b"\r\n"),
    "whole requests before an answer": (b"", (START + b"\r\n") * 300),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_head_without_an_end_is_cut_off(superlink: RunningSuperLink, what: str) -> None:
    """60 MB of headers, never ended, took 800 MB of the server's memory, for as long as the caller liked."""
    start, part = ENDLESS[what]
    with memory_stays(superlink, 20), superlink.opened() as stream:
        stream.sendall(start)
        assert pour(stream, forever(part), HEAD_SECONDS * 0.8) < HEAD_SECONDS / 2  # for its length, not for its time


def test_a_long_head_that_ends_is_answered(superlink: RunningSuperLink) -> None:
    head = START + b"x-filler: " + b"a" * (HEAD_BYTES // 2) + b"\r\n\r\n"
    assert superlink.raw(head).startswith(b"HTTP/1.1 200")


def test_bodies_of_a_hundred_strangers_are_not_held(superlink: RunningSuperLink) -> None:
    """Each held 7 of 8 MiB: 700 MB, after a minute still. A stranger is answered before his body is read."""
    with memory_stays(superlink, 120), ExitStack() as stack:
        for _ in range(100):
            stream = stack.enter_context(superlink.opened())
            pour(stream, iter([PUSH + b"Content-Length: 8388608\r\n\r\n", bytes(7 * MEGABYTE)]), HEAD_SECONDS)
            stream.settimeout(2)
            with suppress(OSError):
                assert stream.recv(4096).startswith(b"HTTP/1.1 401")
        north = fleet(superlink, superlink.keys["north"])
        assert north.activate() and north.beat()
        north.leave()


def silent(superlink: RunningSuperLink) -> socket.socket:
    """A connection that does not even begin with TLS."""
    return socket.create_connection(("127.0.0.1", superlink.port), 20)


def half(superlink: RunningSuperLink) -> socket.socket:
    """A connection that began with a head."""
    stream = superlink.opened()
    stream.sendall(START)
    return stream


def slow_body(superlink: RunningSuperLink) -> socket.socket:
    stream = superlink.opened()
    stream.sendall(PUSH + b"Content-Length: 1000\r\n\r\nabc")
    stream.recv(4096)
    return stream


def answered(superlink: RunningSuperLink) -> socket.socket:
    """A connection whose request was answered, and that begins another one."""
    stream = superlink.opened()
    stream.sendall(START + b"\r\n")
    stream.recv(4096)
    stream.sendall(b"\r\n")
    return stream


Open = Callable[[RunningSuperLink], socket.socket]


def test_who_is_slow_is_cut_off(superlink: RunningSuperLink) -> None:
    """None of these had a time-out: a stranger kept a connection for as long as he liked."""
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(one(superlink))) for one in (silent, half, slow_body, answered)]
        ends = time.monotonic() + HEAD_SECONDS + 5
        for stream in waiting:
            stream.settimeout(max(0.1, ends - time.monotonic()))
            with suppress(ConnectionError, ssl.SSLError):
                while stream.recv(4096):
                    pass


@pytest.mark.parametrize("one", [silent, half])
def test_strangers_connections_do_not_shut_a_site_out(superlink: RunningSuperLink, one: Open) -> None:
    """The oldest stranger makes room; who has signed a call does not."""
    north = fleet(superlink, superlink.keys["north"])
    with ExitStack() as stack:
        assert north.activate()
        before = superlink.descriptors
        for _ in range(3 * STRANGERS):
            with suppress(OSError):
                stack.enter_context(closing(one(superlink)))
        assert superlink.descriptors - before <= STRANGERS + 2
        assert north.beat()
        south = fleet(superlink, superlink.keys["south"])
        assert south.activate()
        south.leave()
    north.leave()


def test_strangers_leave_no_line_in_the_log(superlink: RunningSuperLink) -> None:
    """Each request that was no HTTP left one, and each that asked for another protocol two."""
    with ExitStack() as stack:
        assert superlink.post("/health", method="GET") == 200
        before = superlink.log
        for data in (
            b"\x00\x01 rubbish\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            b"POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n",
            PUSH + b"Content-Length: 100\r\nflwr-public-key: %%%\r\nflwr-signature: x\r\nflwr-timestamp: x\r\n\r\n",
            b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
        ):
            stream = stack.enter_context(superlink.opened())
            stream.sendall(data)
            stream.recv(4096)
            stream.close()
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(300)):
            plain = stack.enter_context(closing(silent(superlink)))
            plain.sendall(data)
            plain.close()
        time.sleep(0.5)
        assert superlink.post("/health", method="GET") == 200
        assert superlink.log == before
