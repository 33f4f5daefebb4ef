"""Secret: every way in which bytes slip out by accident is closed, and the memory is overwritten."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import pytest

from common.errors import SecureSumError
from common.identity.secret import Secret
from common.secure_sum.key_agreement import MaskKey, ShareKey

TEXT = b"correct horse battery staple!!!!"


@pytest.fixture
def secret() -> Secret:
    return Secret(TEXT)


def test_no_text_form_shows_it(secret: Secret) -> None:
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{[secret]} { ({'k': secret}) }",
        "{:>40}".format(secret),  # noqa: UP032
    ):
        assert "horse" not in text and TEXT.hex() not in text
    key = ShareKey(Secret(TEXT))
    assert TEXT.hex() not in repr(key) and "horse" not in repr(key)


def test_a_traceback_does_not_show_it(secret: Secret) -> None:
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(...)" in shown
    assert TEXT.decode() not in shown


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_does_not_pickle(secret: Secret, protocol: int) -> None:
    for thing in (secret, [secret], MaskKey(Secret(TEXT))):
        with pytest.raises(TypeError):
            pickle.dumps(thing, protocol)


def test_it_does_not_serialise_or_copy(secret: Secret) -> None:
    for slip in (copy.copy, copy.deepcopy, json.dumps, bytes, list, len, hash, vars, memoryview):
        with pytest.raises(TypeError):
            slip(secret)


def test_it_does_not_compare(secret: Secret) -> None:
    other = Secret(TEXT)
    comparisons = (
        lambda: secret == other,
        lambda: secret != other,
        lambda: secret == TEXT,
        lambda: TEXT.__eq__(secret) is NotImplemented and secret == TEXT,
        lambda: secret < other,
        lambda: secret in [other],
        lambda: secret in {1: 2},
        lambda: {secret},
    )
    for compare in comparisons:
        with pytest.raises(TypeError):
            compare()


def test_wiping_overwrites_the_memory(secret: Secret) -> None:
    view = secret.expose()
    assert bytes(view) == TEXT
    secret.wipe()
    assert bytes(view) == bytes(len(TEXT))
    assert secret.wiped
    with pytest.raises(SecureSumError):
        secret.expose()
    secret.wipe()


def test_dropping_overwrites_the_memory() -> None:
    secret = Secret(TEXT)
    view = secret.expose()
    del secret
    assert bytes(view) == bytes(len(TEXT))


def test_it_owns_its_copy_and_its_view_is_read_only() -> None:
    given = bytearray(TEXT)
    secret = Secret(given)
    given[:] = bytes(len(given))
    assert bytes(secret.expose()) == TEXT
    with pytest.raises(TypeError):
        secret.expose()[0] = 1


def test_random_ones_differ_and_join_keeps_order() -> None:
    first, second = Secret.random(32), Secret.random(32)
    assert bytes(first.expose()) != bytes(second.expose())
    joined = Secret.join(first, second)
    assert bytes(joined.expose()) == bytes(first.expose()) + bytes(second.expose())
    joined.wipe()
    assert bytes(first.expose()) != bytes(32)
