"""Folders that a crash leaves whole or absent: filled beside under another name, then renamed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.disk.atomic_file import keep_names

OWNERS, EVERYBODYS = 0o700, 0o755


def is_taken(folder: Path) -> bool:
    """Return whether something is at this place that a new folder may not replace: all but an empty folder."""
    return folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir())))


@contextmanager
def whole_folder(folder: Path, mode: int = OWNERS, draft: Path | None = None) -> Iterator[Path]:
    """Give an empty folder to fill, its owner's alone, which takes the place of `folder` when the block ends.

    Where the block fails, it is gone. OSError where it cannot be made, or `folder` is taken by then. Who fills it
    brings its files to the disk.

    mode: for whom it is then
    draft: its name, for who holds a lock and takes away there what a kill left. Without, it is a new one beside
        `folder`, `.NAME-…`, which a kill leaves to a person: another process may be filling it
    """
    place = folder.absolute()
    if draft is None:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=place.parent))
    else:
        draft.mkdir(mode=0o700)
    try:
        yield draft
        draft.chmod(mode)
        draft.rename(place)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    keep_names(place.parent)


def remove_whole(folder: Path, draft: Path) -> None:
    """Delete a folder at once for whoever reads it: a kill leaves it, or what is left of it as `draft`."""
    shutil.rmtree(folder.rename(draft))
