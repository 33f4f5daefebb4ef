"""The lock of a file: one thread of one process has it until its block ends, or the process does, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

APPENDED = os.O_RDWR | os.O_CREAT | os.O_APPEND


@contextmanager
def locked(path: Path, flags: int = APPENDED, lock: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Wait until nobody else has the lock of this file, and give its open descriptor; a new file is its owner's alone.

    flags: of `os.open`. lock: `fcntl.LOCK_SH` shares it with others that do. OSError where it cannot be opened.
    """
    file = os.open(path, flags, 0o600)
    try:
        fcntl.flock(file, lock)
        yield file
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # closing does not free it while a child forked meanwhile has the file
        os.close(file)
