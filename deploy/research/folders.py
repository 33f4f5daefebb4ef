"""How deploy writes hospitals' folders: whole or not at all, YAML that its own border reads back, plain CSV."""

from __future__ import annotations

import csv
import errno
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import RunError, WardroundError
from common.schema import dump, parse


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

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, _: object) -> None:
        if kind is not None:
            shutil.rmtree(self.unfinished, ignore_errors=True)
            if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
                raise RunError(f"{self.directory}: the disk is full. Make room, or choose another folder.") from None
            return
        self.unfinished.chmod(0o755)  # mkdtemp's 0700 is for the unfinished
        if self.directory.exists():
            self.directory.rmdir()
        self.unfinished.rename(self.directory)


def write_yaml(
    path: Path, head: str, content: Mapping[str, Any], kind: type[Any], error: Callable[[str], WardroundError]
) -> None:
    """Write a study.yaml or site.yaml without its defaults, under the comment `head`; what it says must be a `kind`."""
    text = f"# {head}\n" + dump(dict(content))
    parse(text, kind, error, path.name)
    path.write_text(text, encoding="utf-8")


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file, UTF-8, a line feed after each row whatever the system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
