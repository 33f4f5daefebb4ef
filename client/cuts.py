"""Cuts: which patients were training, validation and test patients of the studies whose sums were opened, and whether
another study may cut them otherwise. Without privacy only.

Two sums of the test patients, of two studies whose cuts differ by one patient, show that patient. So where the same
patients are cut otherwise, each side by which a part differs has nobody or at least `smallest` of them. And where no
other site cuts its patients otherwise, the difference is this site's own: so a person here is told of it at approval,
and allows it or not. Where `smallest` is 1, as in a simulation, nobody is to be hidden and nothing is asked. The cuts
are compared in pairs: of three or more a coordinator may compute smaller groups, which this does not hold against it.

A cut is of the patients who add to the sums, by the modalities of the run: who has nothing else is in none of them, and
hides nobody.

On disk, `cuts.json` of the site's state folder (0600): pseudonyms by part, one entry a cut. Cuts that agree about all
patients whom they share are one entry. The audit log beside it says how much is kept, so that a file that was deleted
or put back is refused.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client.charges import AUDIT_FILE
from common.audit import Audit, CutsKept, SumsAccepted
from common.errors import AnsweredError, RunError
from common.whole_file import make_private, write_whole

FILE = "cuts.json"
FORMAT = 1
Cut = Mapping[str, str]  # pseudonym -> part


def differing(one: Cut, other: Cut) -> list[int]:
    """Return the sizes of all sides by which a part differs between two cuts, of the patients who are in both."""
    moved = [(one[patient], other[patient]) for patient in one.keys() & other.keys() if one[patient] != other[patient]]
    sides = [("from", was) for was, _ in moved] + [("to", now) for _, now in moved]
    return [sides.count(side) for side in set(sides)]


@dataclass
class _Kept:
    """One cut. studies: digests of those that opened it; allowed: of those that a person lets differ from it."""

    sides: dict[str, str] = field(repr=False)
    studies: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)


def require_alike(state: Path, study: str, cut: Cut, smallest: int) -> None:
    """AnsweredError when this study (a digest) cuts otherwise than one that was opened before, by a few patients of a
    part or without a person's word.
    """
    with _locked(state) as kept:
        _require_alike(kept, study, cut, smallest)


def opening(state: Path, study: str, cut: Cut, smallest: int) -> None:
    """Keep that sums of this cut may be opened from here on. AnsweredError as `require_alike`."""
    with _locked(state) as kept:
        _require_alike(kept, study, cut, smallest)
        for before in kept:
            if not differing(before.sides, cut):
                before.sides.update(cut)
                before.studies = sorted({*before.studies, study})
                return
        others = sorted({one for before in kept if differing(before.sides, cut) for one in before.studies})
        kept.append(_Kept(dict(cut), [study], others))  # both ways: those differ from this one as this does from them


def asked_about(state: Path, study: str, cut: Cut) -> int:
    """Return by how many patients of a part this study cuts otherwise than opened ones where no person allowed it."""
    with _locked(state) as kept:
        news = [before.sides for before in kept if study not in before.allowed]
        return max((size for sides in news for size in differing(sides, cut)), default=0)


def allow(state: Path, study: str, cut: Cut) -> None:
    """A person lets this study differ from the cuts that were opened by now."""
    with _locked(state) as kept:
        for before in kept:
            if differing(before.sides, cut) and study not in before.allowed:
                before.allowed.append(study)


def _require_alike(kept: list[_Kept], study: str, cut: Cut, smallest: int) -> None:
    sizes = [(size, study in before.allowed) for before in kept for size in differing(before.sides, cut)]
    if sizes and min(sizes)[0] < smallest:
        raise AnsweredError(
            f"This study cuts the patients otherwise than one that was opened before, by {min(sizes)[0]} patients of a "
            f"part: the difference of two sums would show these. Fewer than {smallest} are not shown "
            "(policy.without_privacy.smallest_part). Take the split of the earlier study, or one that differs by more."
        )
    if smallest > 1 and not all(allowed for _, allowed in sizes):
        raise AnsweredError(
            f"This study cuts the patients otherwise than one that was opened before, by up to {max(sizes)[0]} "
            "patients of a part. If no other site does, the difference of two sums is these patients' alone. Take the "
            "split of the earlier study; or a person at this site allows it: wardround site approve STUDY.yaml, which "
            "asks."
        )


def lacking(state: Path) -> int:
    """Return how many patients' sides, and studies, the file lacks that the audit log has the number of."""
    return max(0, _recorded(state) - _size(_read(state / FILE)))


def record(state: Path) -> None:
    """Put on record how much is kept, as a person accepted it: what is deleted from here on is noticed again."""
    with _locked(state):
        pass  # what the log does not count yet is counted as the file is let go


def _size(kept: list[_Kept]) -> int:
    """It only grows, but by a person's decision."""
    return sum(len(cut.sides) + len(cut.studies) for cut in kept)


def _recorded(state: Path) -> int:
    """The size that was recorded last, since a person accepted records that lacked some."""
    size = 0
    for event in Audit(state / AUDIT_FILE).readable(CutsKept, SumsAccepted):
        size = event.entries if isinstance(event, CutsKept) else 0
    return size


def _require_whole(state: Path, kept: list[_Kept], recorded: int) -> None:
    if (missing := recorded - _size(kept)) > 0:
        raise RunError(
            f"{state / FILE}: lacks {missing} entries that the audit log beside it counts. It was put back from a "
            "copy, or deleted, so this site does not know any more how the patients were cut in studies whose sums "
            "are out. Put the newest copy back. If there is none, a person may decide to go on with what this one "
            "says: wardround site accept-sums"
        )


@contextmanager
def _locked(state: Path) -> Iterator[list[_Kept]]:
    """The kept cuts; what is changed in them is on disk when the block ends, and nothing when it raises. RunError when
    they lack some.
    """
    make_private(state)
    path = state / FILE
    with (state / "cuts.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            kept, recorded = _read(path), _recorded(state)
            _require_whole(state, kept, recorded)
            before = _text(kept)
            yield kept
            if _text(kept) != before:
                write_whole(path, _text(kept))
            if _size(kept) != recorded:  # behind the file, so that the newest file lacks nothing; also what a kill left
                Audit(state / AUDIT_FILE).append(CutsKept(_size(kept)))
        finally:  # closing does not free it while a child forked meanwhile has the file
            fcntl.flock(lock, fcntl.LOCK_UN)


def _text(kept: list[_Kept]) -> bytes:
    return json.dumps({"format": FORMAT, "cuts": [asdict(cut) for cut in kept]}).encode()


def _read(path: Path) -> list[_Kept]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = int(content["format"])
        if number > FORMAT:
            raise RunError(f"{path}: is of a newer release of wardround (format {number}). Install that release here.")
        return [_Kept(dict(cut["sides"]), list(cut["studies"]), list(cut["allowed"])) for cut in content["cuts"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{path}: is damaged. Restore it from a backup taken after the last round.") from None
