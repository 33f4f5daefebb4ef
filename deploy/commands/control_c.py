"""Ctrl-C: a hand presses it twice, and a terminal sends it to every process; the second one is to break nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

QUICK = 2.0  # seconds in which another Ctrl-C is the same wish: by then what is saved is saved


def heed_once() -> None:
    """Take a Ctrl-C that comes quickly after another for the same one, in this process, from now on.

    It would break off what the first one has begun: to write why a run ended, and to end its workers. What ignores
    Ctrl-C, as a shell's background job does, goes on to ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _heeding())


def _heeding() -> Callable[[int, FrameType | None], None]:
    last = -QUICK

    def heed(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= QUICK:
            last = now
            signal.default_int_handler(number, frame)

    return heed


def end_at_the_next() -> None:
    """Let the next Ctrl-C end this process without a word: all is said and saved, and the interpreter waits for
    workers, where it would show a traceback.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
