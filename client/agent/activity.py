"""What this site is doing, in the words that may leave it: a state from a closed list, steps, and since when."""

from __future__ import annotations

import threading
import time

from common.messages import ActivityReply


class Activities:
    """Written by the one thread that works, read by whoever asks. Use an instance as a site's `progress`."""

    def __init__(self) -> None:
        self._quiet = False
        self._lock = threading.Lock()
        self._state, self._done, self._total = "idle", 0, 0
        self._since = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Progress as the working code tells it. Of names and counts of files and patients nothing leaves; steps do."""
        if what == "training":
            self.now(what, done, total)
        else:
            self.now(what if what == "scoring" else "preparing data")

    def hush(self, quiet: bool) -> None:
        """Whether what is being done is told as `working` and no more: for a private study."""
        with self._lock:
            self._quiet = quiet

    def now(self, state: str, done: int = 0, total: int = 0) -> None:
        with self._lock:
            if self._quiet and state not in ("idle", "masked"):
                state, done, total = "working", 0, 0
            if state != self._state:
                self._since = time.monotonic()
            self._state, self._done, self._total = state, done, total

    def reply(self) -> ActivityReply:
        with self._lock:
            return ActivityReply(self._state, self._done, self._total, int(time.monotonic() - self._since))
