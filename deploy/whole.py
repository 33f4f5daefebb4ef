"""A folder that appears under its name only when it is complete."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from common.errors import RunError


class Whole:
    """`with Whole(directory) as folder`: write into `folder`, which is renamed to `directory` at the end.

    Raises RunError where `directory` exists and is not an empty folder, or cannot be made. If the writing fails,
    nothing is left.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> Path:
        directory = self.directory
        if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
            raise RunError(f"{directory}: is not an empty folder. Choose a new one, or remove it first.")
        parent = directory.absolute().parent
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self.unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=parent))
        except OSError as problem:
            raise RunError(f"{directory}: cannot be made ({problem.strerror}). Choose another folder.") from None
        return self.unfinished

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            return
        self.unfinished.chmod(0o755)  # mkdtemp's 0700 is for the unfinished
        if self.directory.exists():
            self.directory.rmdir()
        self.unfinished.rename(self.directory)
