"""One process at a time for one duty: two agents would take the socket from each other, two connectors the messages."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import RunError

log = logging.getLogger("wardround.daemon")

ENDING_SECONDS = 15.0  # that one which was told to stop, or lost its supervisor, may need to end


@contextmanager
def alone(lock: Path, what: str, seconds: float = ENDING_SECONDS) -> Iterator[None]:
    """Hold `lock` while this process is `what`. RunError if another process still holds it after so many seconds.

    The kernel lets a lock go with the process that held it, however that one ended.
    """
    try:
        file = lock.open("a+", encoding="ascii")
    except OSError as problem:
        raise RunError(
            f"{lock}: cannot be written ({problem.strerror}). Run this as the user whose folder {lock.parent} is; has "
            "the site been enrolled, and is there room on the disk?"
        ) from None
    with file:
        ends, waited = time.monotonic() + seconds, False
        while not _taken(file.fileno()):
            file.seek(0)
            other = f"the {what} runs already, as process {file.read().strip()}"
            if time.monotonic() > ends:
                raise RunError(f"{other[:1].upper()}{other[1:]}. Stop that one first.")
            if not waited:
                log.warning("%s; waiting for it to end", other)
            waited = True
            time.sleep(0.2)
        file.truncate(0)
        file.write(f"{os.getpid()}")
        file.flush()
        yield


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
