"""How deploy writes hospitals' folders: whole or not at all, YAML that its own border reads back, plain CSV."""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from common.disk.whole_folder import EVERYBODYS, is_taken, whole_folder
from common.errors import RunError, WardroundError
from common.schema import dump, parse


@contextmanager
def made_whole(directory: Path) -> Iterator[Path]:
    """Give a folder to write into, which takes the place of `directory` at the end.

    Raises RunError where `directory` exists and is not an empty folder, or cannot be made, or where the disk is full.
    If the writing fails, nothing is left.
    """
    if is_taken(directory):
        raise RunError(f"{directory}: is not an empty folder. Choose a new one, or remove it first.")
    with ExitStack() as stack:
        try:
            unfinished = stack.enter_context(whole_folder(directory, EVERYBODYS))
        except OSError as problem:
            raise RunError(f"{directory}: cannot be made ({problem.strerror}). Choose another folder.") from None
        try:
            yield unfinished
        except OSError as problem:
            if _is_full(problem):
                raise RunError(f"{directory}: the disk is full. Make room, or choose another folder.") from None
            raise


def _is_full(problem: BaseException | None) -> bool:
    """Whether a full disk is behind an error: pydicom raises its own of it, which has no number."""
    while problem is not None:
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        problem = problem.__cause__
    return False


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
