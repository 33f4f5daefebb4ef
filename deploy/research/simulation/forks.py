"""Worker processes that start in milliseconds, and end with Ctrl-C without a word."""

from __future__ import annotations

import signal
from multiprocessing import forkserver, get_context, resource_tracker
from multiprocessing.context import ForkServerContext

PRELOADED = [
    *("client.agent.handlers", "client.training.local", "client.training.evaluate", "client.data.prepare"),
    *("torch._dynamo", "opacus.grad_sample", "opacus.accountants"),  # what a first step loads, for seconds
]


def forks() -> ForkServerContext:
    """A fork server loads torch once, before there is any thread, and every worker starts from it.

    A terminal sends Ctrl-C to all processes: the server leaves it to the one that started it, also while it loads.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which the other would start, letting Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # kept back here, and inherited by the server
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def end_with_control_c() -> None:
    """In a worker, first of all: end at once, and show no traceback of where it was."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
