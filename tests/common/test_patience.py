"""Calls over a network that fails: how often they are made again, and when it is no use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import pytest

from common.network import retries as patience
from common.network.retries import answered

REQUEST = httpx.Request("POST", "https://127.0.0.1:1/")


def status(code: int) -> httpx.HTTPError:
    return httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(code, request=REQUEST))


AWAY = httpx.ConnectError("away")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FIRST_SECONDS": 0.01, "LONGEST_SECONDS": 0.02, "FAULT_SECONDS": 0.2}.items():
        monkeypatch.setattr(patience, name, value)


def failing(*errors: httpx.HTTPError | None) -> Callable[[], int]:
    """Fails so one call after the other, the last way for ever; None is an answer: how many calls it took."""
    several, made = list(errors), list[int]()

    def call() -> int:
        made.append(1)
        error = several.pop(0) if len(several) > 1 else several[0]
        if error is not None:
            raise error
        return len(made)

    return call


def test_what_passes_is_made_again_until_it_is_answered() -> None:
    codes = [status(code) for code in (408, 425, 429, 500, 502, 503, 504)]
    assert answered(failing(AWAY, *codes, AWAY, None), seconds=10) == 10


@pytest.mark.parametrize("code", [400, 401, 403, 404, 412, 413, 501])
def test_a_refusal_is_not_asked_again(code: int) -> None:
    call = failing(status(code), None)
    with pytest.raises(httpx.HTTPStatusError):
        answered(call, seconds=10)


def test_a_certificate_that_does_not_hold_is_told_at_once() -> None:
    call = failing(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"), None)
    with pytest.raises(httpx.ConnectError):
        answered(call, seconds=10)


def test_a_server_that_is_away_is_waited_for_as_long_as_is_said() -> None:
    began, told = time.monotonic(), list[float]()
    with pytest.raises(httpx.ConnectError):
        answered(failing(AWAY), seconds=0.5, waiting=told.append)
    assert 0.5 < time.monotonic() - began < 2
    assert told == sorted(told) and len(told) > 5


def test_a_call_that_is_answered_with_nothing_but_500_is_given_up_however_patient_one_is() -> None:
    """Of a run that the server has lost: the next message would wait behind it for ever."""
    began = time.monotonic()
    with pytest.raises(httpx.HTTPStatusError):
        answered(failing(status(500)), seconds=float("inf"))
    assert 0.2 < time.monotonic() - began < 2


def test_a_server_that_comes_and_goes_is_no_such_call() -> None:
    faults = [error for _ in range(30) for error in (status(500), AWAY)]
    assert answered(failing(*faults, None), seconds=10) == 61


def test_who_is_stopped_waits_no_longer() -> None:
    stopped = threading.Event()
    threading.Timer(0.1, stopped.set).start()
    with pytest.raises(httpx.ConnectError):
        answered(failing(AWAY), seconds=30, stopped=stopped)


def test_callers_of_the_same_outage_do_not_come_back_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause is drawn from the second half of what it may be at most."""
    pauses = list[float]()
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds=None: pauses.append(seconds) or False)
    assert answered(failing(*[AWAY] * 200, None), seconds=60) == 201
    assert all(0.01 <= pause <= 0.02 for pause in pauses[1:]) and len(set(pauses)) > 100
