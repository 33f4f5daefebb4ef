"""Calls over a network that fails now and then: made again until they are answered, or until it is no use."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from common.pause import Pause

R = TypeVar("R")
_DRAWS = random.SystemRandom()  # seeds of a study have no part in it

FIRST_SECONDS, LONGEST_SECONDS = 0.1, 5.0
SPREAD = 0.5, 1.0  # of a pause: else all sites would come back at the same moment after an outage of the server
FAULT_SECONDS = 300.0  # of nothing but 500: it is about this call, for example for a run that the server has lost
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # 500: Flower's answer while its database is busy


def answered(
    call: Callable[[], R],
    *,
    seconds: float,
    stopped: threading.Event | None = None,
    waiting: Callable[[float], None] | None = None,
) -> R:
    """The result of `call`, repeated while the connection or the server fails, for `seconds`; then its last error.

    A server that is there, and answers with 500 for FAULT_SECONDS, is not asked any longer. `waiting` is told, before
    each pause, for how many seconds there was no answer; `stopped` ends the pauses.
    """
    began = well = time.monotonic()  # `well`: when it last answered or failed otherwise than with 500
    pause = Pause(FIRST_SECONDS, LONGEST_SECONDS)
    while True:
        try:
            return call()
        except httpx.HTTPError as error:
            now = time.monotonic()
            late, well = now - began, well if _is_fault(error) else now
            lasts = late > seconds or now - well > FAULT_SECONDS
            if not passes(error) or lasts or (stopped is not None and stopped.is_set()):
                raise
            if waiting is not None:
                waiting(late)
            (stopped or threading.Event()).wait(pause.seconds * _DRAWS.uniform(*SPREAD))
            pause.longer()


def passes(error: httpx.HTTPError) -> bool:
    """Whether the same call may succeed later: the network's faults, and the server's own."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in PASSING
    return isinstance(error, httpx.TransportError) and not is_untrusted(error)


def is_untrusted(error: httpx.HTTPError) -> bool:
    """Whether a server answered whose certificate does not hold: another one, or who opens TLS on the way to it."""
    return isinstance(error, httpx.ConnectError) and "CERTIFICATE_VERIFY_FAILED" in str(error)


def _is_fault(error: httpx.HTTPError) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.INTERNAL_SERVER_ERROR
