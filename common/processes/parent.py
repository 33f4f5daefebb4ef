"""A process that ends when the one that started it is gone, however that one ended.

A supervisor that is killed must leave none behind: it would keep the port or the socket, and the accelerator, from the
next one; and node keys of whoever was removed meanwhile would stay in.
"""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_SECONDS = 0.5


def end_with(parent: int, patience: float) -> None:
    """From now on this process ends soon after its parent, which is the process `parent`: told to, as by SIGTERM, and
    at once where it has not after `patience` seconds.
    """
    threading.Thread(target=_watch, args=(parent, patience), name="parent", daemon=True).start()


def _watch(parent: int, patience: float) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience)
    os._exit(1)
