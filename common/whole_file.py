"""Files that a crash leaves whole: written beside under another name, brought to the disk, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE, PUBLIC = 0o600, 0o644


def write_whole(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """`path` holds `data`, for whom `mode` says, or what it held before. OSError as the system gives it."""
    draft = path.with_name(f".{path.name}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), PRIVATE)  # a draft that a crash left may have another mode
        file.write(data)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    keep_names(path.parent)


def keep_names(folder: Path) -> None:
    """The folder's names, as they are now, are on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_private(folder: Path) -> None:
    """A folder that only its owner may enter, whatever it was before; folders above it are made the same way."""
    for path in (*reversed([parent for parent in folder.parents if not parent.exists()]), folder):
        path.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
