"""A process that is kept running: started again when it ends, told to end, and killed where it does not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from common.pause import Pause

SOONEST_SECONDS = 1.0  # before a process that ended is started again
STEADY_SECONDS = 60.0  # a process that ran so long is started again as soon as that


class Kept:
    """The process that `start` starts; anew after a pause, which is twice as long each time.

    longest: seconds of a pause
    patience: seconds that it may need to end, once it was told to; then it is killed
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], *, longest: float, patience: float) -> None:
        self._start, self._patience = start, patience
        self._pause, self._due = Pause(SOONEST_SECONDS, longest), 0.0
        self.process: subprocess.Popen[bytes] | None = None  # the last one that was started
        self.began = 0.0

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def begin(self) -> None:
        """Start it now."""
        self.began = time.monotonic()
        self.process = self._start()

    def keep(self) -> tuple[int, float] | None:
        """Start it where it is due. Once after each end, return what it ended with, and after what pause it is due."""
        if self.is_running:
            return None
        if self.process is None:
            if time.monotonic() >= self._due:
                self.begin()
            return None
        ended, pause = self.process.returncode, self.pause()
        self.process, self._due = None, time.monotonic() + pause
        return ended, pause

    def pause(self) -> float:
        """Return in how many seconds it is to be started again: it has ended now."""
        return self._pause.anew() if time.monotonic() - self.began > STEADY_SECONDS else self._pause.longer()

    def tell(self) -> None:
        """Tell it to end."""
        if self.process is not None and self.is_running:
            self.process.terminate()

    def wait(self) -> None:
        """Wait for it to end, who was told to, and kill it after its patience."""
        if self.process is None:
            return
        try:
            self.process.wait(self._patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def end(self) -> None:
        """End it, if it runs."""
        self.tell()
        self.wait()
