"""Cuts: which patients were training, validation and test patients of the studies whose sums were opened, and whether
another study may cut them otherwise. Without privacy only.

Two sums of the test patients, of two studies whose cuts differ by one patient, show that patient. So where the same
patients are cut otherwise, each side by which a part differs has nobody or at least `smallest` of them. The cuts are
compared in pairs: of three or more cuts a coordinator may compute smaller groups, which this does not hold against it.

On disk, `cuts.json` of the site's state folder (0600): pseudonyms by part, one entry a cut. Cuts that agree about all
patients whom they share are one entry.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import AnsweredError, RunError
from common.whole_file import make_private, write_whole

FORMAT = 1
Cut = Mapping[str, str]  # pseudonym -> part


def differing(one: Cut, other: Cut) -> list[int]:
    """Return the sizes of all sides by which a part differs between two cuts, of the patients who are in both."""
    moved = [(one[patient], other[patient]) for patient in one.keys() & other.keys() if one[patient] != other[patient]]
    sides = [("from", was) for was, _ in moved] + [("to", now) for _, now in moved]
    return [sides.count(side) for side in set(sides)]


def require_alike(state: Path, cut: Cut, smallest: int) -> None:
    """AnsweredError when this cut differs, from one that was opened before, by a few patients of a part."""
    with _locked(state) as kept:
        _require_alike(kept, cut, smallest)


def opening(state: Path, cut: Cut, smallest: int) -> None:
    """Keep that sums of this cut are opened. AnsweredError as `require_alike`."""
    with _locked(state) as kept:
        _require_alike(kept, cut, smallest)
        for before in kept:
            if not differing(before, cut):
                before.update(cut)
                return
        kept.append(dict(cut))


def _require_alike(kept: list[dict[str, str]], cut: Cut, smallest: int) -> None:
    sizes = [size for before in kept for size in differing(before, cut)]
    if sizes and min(sizes) < smallest:
        raise AnsweredError(
            f"This study cuts the patients otherwise than one that was opened before, by {min(sizes)} patients of a "
            f"part: the difference of two sums would show these. Fewer than {smallest} are not shown "
            "(policy.without_privacy.smallest_part). Take the split of the earlier study, or one that differs by more."
        )


@contextmanager
def _locked(state: Path) -> Iterator[list[dict[str, str]]]:
    """The kept cuts; what is changed in them is on disk when the block ends, and nothing when it raises."""
    make_private(state)
    path = state / "cuts.json"
    with (state / "cuts.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            before = _read(path)
            kept = [dict(cut) for cut in before]
            yield kept
            if kept != before:
                write_whole(path, json.dumps({"format": FORMAT, "cuts": kept}).encode())
        finally:  # closing does not free it while a child forked meanwhile has the file
            fcntl.flock(lock, fcntl.LOCK_UN)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number, cuts = int(content["format"]), content["cuts"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{path}: is damaged. Restore it from a backup taken after the last round.") from None
    if number > FORMAT:
        raise RunError(f"{path}: is of a newer release of wardround (format {number}). Install that release here.")
    return [{str(patient): str(part) for patient, part in cut.items()} for cut in cuts]
