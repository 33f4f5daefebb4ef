"""Files that a crash leaves whole: written beside under another name, brought to the disk, then renamed.

A kill leaves the draft, `.NAME.draft`, and what was at `NAME` before. Whoever writes the same file next takes the draft
away; a folder whose files have other names each time is tidied by its owner (`client/agent/replies.py`,
`client/network/inbox.py`).
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from common.errors import RunError

PRIVATE, PUBLIC = 0o600, 0o644
BY_UMASK = None  # a mode: whoever the process's umask lets
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


def write_whole(path: Path, data: bytes, mode: int | None = PRIVATE) -> None:
    """`path` holds `data`, for whom `mode` says, or what it held before: then RunError. Never in place of a device."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError(f"{path}: is there and not a plain file. Choose another name.")
    try:
        with whole_file(path, mode) as draft:
            draft.write_bytes(data)
    except OSError as problem:
        raise RunError(
            f"{path}: cannot be written ({problem.strerror}). Check the folder, its owner and the disk."
        ) from None


@contextmanager
def whole_file(path: Path, mode: int | None = PRIVATE, *, apart: bool = False) -> Iterator[Path]:
    """Give the name of an empty file to write to, which is on the disk and in the place of `path` when the block ends.

    Where the block fails, or OSError is raised, `path` is what it was. One at a time may write one path.

    mode: for whom it is then; until then a draft with a mode is its owner's alone
    apart: the draft lies in a folder of its own, for what makes files with other names beside the one that it is given
    """
    place = path.with_name(f".{path.name}.draft")
    draft = place / path.name if apart else place
    _clear(place)
    try:
        if apart:
            place.mkdir(mode=0o700)
        os.close(os.open(draft, _FLAGS, 0o666 if mode is BY_UMASK else PRIVATE))
        yield draft
        _settle(draft, mode)
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            _clear(place)
        raise
    if apart:
        _clear(place)
    keep_names(path.parent)


def write_new(path: Path, data: bytes | memoryview, mode: int = PRIVATE) -> None:
    """Write `path` whole, or raise FileExistsError where it is there: of several who call this at once, one writes it.

    Other OSErrors as they come. A draft that a kill left is taken away by the next call for this path.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
    try:
        os.close(os.open(draft, _FLAGS, PRIVATE))
        draft.write_bytes(data)
        _settle(draft, mode)
        os.link(draft, path)
    except FileNotFoundError:  # who was first took this draft away too
        if os.path.lexists(path):
            raise FileExistsError(f"{path} is there") from None
        raise
    finally:
        draft.unlink(missing_ok=True)
        if os.path.lexists(path):  # then no draft can take its place any more
            for old in path.parent.glob(f".{glob.escape(path.name)}.*.draft"):
                old.unlink(missing_ok=True)
    keep_names(path.parent)


def put_in_place(waiting: Path, path: Path) -> None:
    """A file that is on the disk under another name takes the place of `path`. OSError where it cannot."""
    waiting.replace(path)
    for folder in {waiting.parent, path.parent}:
        keep_names(folder)


def _settle(draft: Path, mode: int | None) -> None:
    """Bring what is written to the disk. Opened anew, for the block may have put another file under the name."""
    handle = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if mode is not BY_UMASK:
            os.fchmod(handle, mode)
        os.fsync(handle)
    finally:
        os.close(handle)


def _clear(place: Path) -> None:
    """Take away what a kill left. It is never written to: it may be a link, or another user's."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def to_disk(file: IO[bytes]) -> None:
    """Bring to the disk what was written to an open file, of a folder that is made whole."""
    file.flush()
    os.fsync(file.fileno())


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
