"""Looks that wait: a site hears at once of what was sent, nobody waits in vain, nothing is missed."""

from __future__ import annotations

import asyncio
import time

import pytest

from common.network.flower_objects import CHUNK_BYTES
from common.network.long_poll import FOR_RUN, FOR_SITES, HEADER, WAIT_SECONDS
from server.flower.long_poll import Bell

SENT = {FOR_SITES: "/v1/runtime/push-object", FOR_RUN: "/v1/fleet/push-object"}


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b""})


async def call(bell: Bell, path: str, number: bytes = b"", length: int = 900) -> tuple[bytes, float]:
    """The number in the answer, and how long it took."""
    said: list[dict] = []

    async def send(message):
        said.append(message)

    headers = [(b"content-length", str(length).encode()), *([(HEADER.encode(), number)] if number else [])]
    began = time.monotonic()
    await bell({"type": "http", "path": path, "headers": headers}, None, send)
    assert (b"a", b"b") in said[0]["headers"]
    return dict(said[0]["headers"]).get(HEADER.encode(), b""), time.monotonic() - began


@pytest.mark.parametrize("path", [FOR_SITES, FOR_RUN])
def test_a_look_waits_until_something_is_sent(path):
    async def play():
        bell = Bell(app)
        number, took = await call(bell, path)
        assert number and took < 0.2
        looks = [asyncio.create_task(call(bell, path, number)) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(look.done() for look in looks)
        await call(bell, SENT[path])
        for newer, took in await asyncio.gather(*looks):
            assert newer != number
            assert 0.15 < took < 0.6

    asyncio.run(play())


@pytest.mark.parametrize("path", [FOR_SITES, FOR_RUN])
def test_what_was_sent_before_a_look_is_not_missed(path):
    async def play():
        bell = Bell(app)
        number, _ = await call(bell, path)
        await call(bell, SENT[path])
        _, took = await call(bell, path, number)
        assert took < 0.2

    asyncio.run(play())


def test_a_look_without_news_ends_by_itself():
    async def play():
        bell = Bell(app)
        number, _ = await call(bell, FOR_SITES)
        again, took = await call(bell, FOR_SITES, number)
        assert again == number
        assert WAIT_SECONDS - 0.1 < took < WAIT_SECONDS + 0.5

    asyncio.run(play())


@pytest.mark.parametrize("number", [b"", b"1", b"x", b"\xff", b"9" * 5000])
def test_a_number_of_another_server_or_of_nobody_waits_for_nothing(number):
    async def play():
        assert (await call(Bell(app), FOR_SITES, number))[1] < 0.2

    asyncio.run(play())


def test_what_sites_send_is_no_news_for_sites():
    async def play():
        bell = Bell(app)
        number, _ = await call(bell, FOR_SITES)
        look = asyncio.create_task(call(bell, FOR_SITES, number))
        await asyncio.sleep(0.05)
        await call(bell, SENT[FOR_RUN])
        await asyncio.sleep(0.1)
        assert not look.done()
        await call(bell, SENT[FOR_SITES])
        await look

    asyncio.run(play())


def test_a_chunk_of_a_large_message_is_no_news():
    async def play():
        bell = Bell(app)
        number, _ = await call(bell, FOR_SITES)
        await call(bell, SENT[FOR_SITES], length=CHUNK_BYTES)
        assert (await call(bell, FOR_SITES, number))[1] > WAIT_SECONDS - 0.1

    asyncio.run(play())


def test_other_calls_pass_as_they_are():
    async def play():
        assert (await call(Bell(app), "/v1/fleet/pull-object"))[0] == b""

    asyncio.run(play())
