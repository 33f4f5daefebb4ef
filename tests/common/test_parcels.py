"""Parcels: what is sent arrives, Flower takes their objects for its own, and what is none is refused in words."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from flwr.supercore.inflatable.inflatable_object import get_object_head_values_from_object_content, get_object_id
from flwr.supercore.inflatable.inflatable_utils import validate_object_content
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import RunError
from common.network import flower_objects as parcels
from common.network.flower_objects import CHUNK_BYTES, SMALL_BYTES, Arriving, Contents, Parcel, sent

LENGTHS = (0, 1, SMALL_BYTES, SMALL_BYTES + 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7)


def stored(*several: Parcel) -> dict[str, bytes]:
    """As a server holds them."""
    store: dict[str, bytes] = {}
    wanted = dict.fromkeys(name for parcel in several for name in (*parcel.children, parcel.key))
    sent(several, wanted, lambda name, content: store.setdefault(name, content) is content, pytest.fail)
    return store


def answer(content: bytes) -> SimpleNamespace:
    return SimpleNamespace(object_found=True, object_available=bool(content), object_content=content)


def fetched(key: str, fetch) -> bytes:
    return Arriving(key, lambda name: answer(fetch(name))).awaited(threading.Event())


def varied(length: int) -> bytes:
    return (hashlib.sha512(b"a").digest() * (length // 64 + 1))[:length] if length < SMALL_BYTES else _random(length)


def _random(length: int) -> bytes:
    import numpy as np

    return np.random.default_rng(length).bytes(length)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("make", [varied, bytes])  # of zeros, every whole chunk is the same object
def test_what_is_sent_arrives(length, make):
    data = make(length)
    parcel = Parcel.of(("run", 7), Contents.of(data))
    assert fetched(parcel.key, stored(parcel).__getitem__) == data


@pytest.mark.parametrize("length", LENGTHS)
def test_flower_takes_every_object_for_its_own(length):
    parcel = Parcel.of(("run", 7), Contents.of(_random(length)))
    store = stored(parcel)
    for name, content in store.items():
        validate_object_content(content)
        assert get_object_id(content) == name
        assert len(content) < CHUNK_BYTES + 200_000
    kind, children, _ = get_object_head_values_from_object_content(store[parcel.key])
    assert kind == "Message"
    assert children == list(parcel.children)
    assert len(set(children)) == len(children)


def test_small_is_one_object_and_equal_contents_are_stored_once():
    small, large = Contents.of(b"x" * 100), Contents.of(_random(2 * CHUNK_BYTES))
    assert len(stored(Parcel.of((1,), small))) == 1
    assert len(stored(Parcel.of((1,), large), Parcel.of((2,), large))) == 2 + 2


def test_two_messages_with_the_same_contents_are_two():
    same = Contents.of(b"the same")
    assert Parcel.of((1,), same).key != Parcel.of((2,), same).key
    assert Parcel.of((1,), same).key == Parcel.of((1,), same).key


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=200))
def test_foreign_bytes_are_refused_in_words(content):
    with pytest.raises(RunError):
        fetched("name", lambda name: content)


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"size": 5},
        {"size": -1, "chunks": ["a"]},
        {"size": 1 << 40, "chunks": ["a"]},
        {"size": CHUNK_BYTES + 1, "chunks": ["a"]},
        {"size": 10, "chunks": ["a", "b"]},
        {"size": "many", "chunks": []},
    ],
)
def test_a_head_that_lies_about_its_chunks_is_refused(told):
    text = json.dumps(told).encode()
    body = len(text).to_bytes(4, "big") + text
    head = f"Message  {len(body)}".encode() + b"\0" + body
    chunk = b"ArrayChunk  5\x00hello"
    with pytest.raises(RunError):
        fetched("head", lambda name: head if name == "head" else chunk)


def test_a_chunk_of_another_kind_is_refused():
    parcel = Parcel.of((1,), Contents.of(_random(CHUNK_BYTES + 1)))
    store = stored(parcel)
    store[parcel.children[1]] = b"Message  1\x00x"
    with pytest.raises(RunError):
        fetched(parcel.key, store.__getitem__)


def test_what_comes_piece_by_piece_is_whole_once_the_last_is_there(monkeypatch):
    monkeypatch.setattr(parcels, "FIRST_PAUSE_SECONDS", 0.001)
    data = _random(3 * CHUNK_BYTES + 7)
    parcel = Parcel.of((1,), Contents.of(data))
    store, here, asked = stored(parcel), dict[str, bytes](), []
    arriving = Arriving(parcel.key, lambda name: asked.append(name) or answer(here.get(name, b"")))
    assert arriving.whole() is None
    for name in (parcel.key, *parcel.children):
        assert arriving.whole() is None
        here[name] = store[name]
    asked.clear()
    assert arriving.whole() == data
    assert asked == [parcel.children[-1]]  # nothing is fetched twice
    assert Arriving(parcel.key, lambda name: answer(store[name])).awaited(threading.Event()) == data


def test_what_does_not_come_is_looked_for_less_and_less_often():
    """Anew after each object that came: the next ones follow closely."""
    data, pauses, here = _random(2 * CHUNK_BYTES), list[float](), dict[str, bytes]()
    parcel = Parcel.of((1,), Contents.of(data))
    store = stored(parcel)

    class Stopped(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            if len(pauses) == 4:
                here[parcel.key] = store[parcel.key]
            if len(pauses) == 7:
                self.set()

    with pytest.raises(RunError):
        Arriving(parcel.key, lambda name: answer(here.get(name, b""))).awaited(Stopped())
    first = parcels.FIRST_PAUSE_SECONDS
    assert pauses == [2 * first, 4 * first, 8 * first, 16 * first, first, 2 * first, 4 * first]


def test_what_the_server_gave_up_is_not_waited_for():
    lost = SimpleNamespace(object_found=False, object_available=False, object_content=b"")
    with pytest.raises(RunError):
        Arriving("it", lambda name: lost).awaited(threading.Event())


def test_a_stopped_process_waits_for_nothing():
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(RunError):
        Arriving("it", lambda name: answer(b"")).awaited(stopped)


@pytest.mark.parametrize(
    ("found", "available", "lost"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_what_the_server_does_not_take_is_lost_only_where_it_waits_for_it(found, available, lost):
    """It does not take either what it has, from a call whose answer was lost, nor what it has forgotten since."""
    parcel = Parcel.of((1,), Contents.of(_random(2 * CHUNK_BYTES)))
    told = SimpleNamespace(object_found=found, object_available=available, object_content=b"")
    with pytest.raises(RunError) if lost else nullcontext():
        sent([parcel], parcel.children, lambda name, content: False, lambda name: told)


def test_who_is_interrupted_waits_for_no_call(monkeypatch):
    """A call may be patient with a server that is away, for ten minutes; Ctrl-C is not."""
    parcel, away = Parcel.of((1,), Contents.of(_random(4 * CHUNK_BYTES))), threading.Event()
    monkeypatch.setattr(parcels.ThreadPoolExecutor, "map", _interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sent([parcel], parcel.children, lambda name, content: away.wait(20), pytest.fail)
    assert time.monotonic() - began < 5
    away.set()


def _interrupted(pool, call, values):
    for value in values:
        pool.submit(call, value)
    raise KeyboardInterrupt
