"""Worker processes that start in milliseconds, and end with Ctrl-C without a word."""

from __future__ import annotations

import signal
import threading
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

PRELOADED = ["client.handlers", "client.training.local", "client.training.evaluate", "client.data.prepare"]


def forks() -> ForkServerContext:
    """A fork server loads torch once, before there is any thread, and every worker starts from it.

    A terminal sends Ctrl-C to all processes: the server leaves it to the one that started it, also while it loads.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)
    return context


def end_with_control_c() -> None:
    """In a worker, first of all: end at once, and show no traceback of where it was."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
