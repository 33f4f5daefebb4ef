"""A look for messages that waits at the server until something was sent, instead of coming back ten times a second.

Every look costs Flower's server a signature, a lock of its database and a transaction: as much as a message. So each
answer to a look says up to where it has seen (`HEADER`), and the next look says so too: until something newer was sent
the server keeps it for up to `WAIT_SECONDS` (`server/flower/long_poll.py`). Where the number is not known, nothing
waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx

HEADER = "x-wardround-news"
WAIT_SECONDS = 1.0
FOR_SITES, FOR_RUN = "/v1/fleet/pull-messages", "/v1/runtime/pull-messages"


class News:
    """For a client of Flower's server: its looks at `path` wait for news. Each thread knows of its own looks alone."""

    def __init__(self, path: str) -> None:
        self._path, self._seen = path, threading.local()

    def intercept(self, context: Any, call_next: Callable[[Any], httpx.Response]) -> httpx.Response:
        """Around one call, as Flower's clients want it; `context.request` is what is sent."""
        if context.request.url.path != self._path:
            return call_next(context)
        if self.waits:
            context.request.headers[HEADER] = self._seen.number
        response = call_next(context)
        # What brought something is followed by a look that does not wait: a site is given one message at a time.
        self._seen.number = "" if response.content else response.headers.get(HEADER, "")
        return response

    @property
    def waits(self) -> bool:
        """Whether this thread's next look will wait."""
        return bool(getattr(self._seen, "number", ""))

    def forget(self) -> None:
        """This thread's next look does not wait."""
        self._seen.number = ""
