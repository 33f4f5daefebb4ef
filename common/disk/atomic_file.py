"""Files that a crash leaves whole: written beside under another name, brought to the disk, then renamed."""

from __future__ import annotations

import os
from pathlib import Path

from common.errors import RunError

PRIVATE, PUBLIC = 0o600, 0o644


def write_whole(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """`path` holds `data`, for whom `mode` says, or what it held before: then RunError. Never in place of a device."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError(f"{path}: is there and not a plain file. Choose another name.")
    try:
        _write(path, data, mode)
    except OSError as problem:
        raise RunError(
            f"{path}: cannot be written ({problem.strerror}). Check the folder, its owner and the disk."
        ) from None


def _write(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, PRIVATE)  # a draft that a crash left may have another mode
        file.write(data)
        os.fchmod(handle, mode)
        file.flush()
        os.fsync(handle)
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
    """A folder that only its owner may enter, whatever it was before; missing folders above it are made so too."""
    try:
        for path in (*reversed([parent for parent in folder.parents if not parent.exists()]), folder):
            path.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    except OSError as problem:
        raise RunError(f"{folder}: cannot be made private ({problem.strerror}). Check its owner.") from None
