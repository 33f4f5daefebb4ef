"""The file of cuts: `cuts.json` of a site's state folder (0600), pseudonyms by part, held against the audit log.

The audit log beside it says how much is kept, so that a file that was deleted or put back is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from common.disk.atomic_file import make_private, write_whole
from common.disk.audit import AUDIT_FILE, Audit, CutsKept, SumsAccepted
from common.disk.lock import locked
from common.errors import RunError

FILE = "cuts.json"
FORMAT = 1


@dataclass
class Kept:
    """One cut. studies: digests of those that opened it; allowed: of those that a person lets differ from it.

    modalities: pseudonym -> those with which the patient added to the sums; who is not in it added with unknown ones
    """

    sides: dict[str, str] = field(repr=False)
    studies: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    modalities: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        return len(self.sides) + len(self.studies) + sum(map(len, self.modalities.values()))

    def known(self, patient: str) -> frozenset[str] | None:
        """Return the modalities with which the patient added; None: nobody kept them."""
        names = self.modalities.get(patient)
        return None if names is None else frozenset(names)


@dataclass
class Use:
    """A study's sums with these modalities, by these columns of the site for target and split: who was then in the
    cohort, in a part that the site signed for.

    nowhere: who had a target, and added to no sum as long as it was asked -> the part, where the site never signed for
        it; else "". came: those of them who added later
    target, split, recipes: by what the study takes a patient (`client.data.recipe.Rules`); None: nobody kept it
    words: study -> those by whom a person lets it differ from these sums, and between which parts (`Move.word`)
    changes: of each version of these sums (`client.exact_sums.versions`) whoever adds, is nowhere or is absent since
        the last one
    last: of each version the order of its last sum, among the sums of all studies (`Book.order`); 0: nobody kept it
    """

    study: str
    modalities: list[str]
    patients: list[str] = field(default_factory=list, repr=False)
    nowhere: dict[str, str] = field(default_factory=dict, repr=False)
    came: list[str] = field(default_factory=list, repr=False)
    target: str = ""
    split: str | None = None
    recipes: dict[str, str] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict, repr=False)
    changes: list[dict[str, str]] = field(default_factory=list, repr=False)
    last: list[int] = field(default_factory=list)

    @property
    def added(self) -> frozenset[str]:
        """Those who have added to these sums."""
        return frozenset({*self.patients} - {*self.nowhere} | {*self.came})

    @property
    def size(self) -> int:
        return 1 + sum(map(len, (self.patients, self.nowhere, self.came, *self.words.values(), *self.changes)))


@dataclass
class Book:
    """All that the file holds: the cuts that were opened, and who was in the cohort of each study's sums.

    refused: study -> modalities and parts of its runs that were refused, until a person allows what they differ by
    unknown: who was not in the target's file when most were not (`client.exact_sums.renumbered`)
    """

    cuts: list[Kept] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    refused: dict[str, list[list[list[str]]]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list, repr=False)

    @property
    def order(self) -> int:
        """Which sum, of those of all studies, was opened last. The same one again is not counted anew."""
        return max((order for use in self.uses for order in use.last), default=0)

    @property
    def patients(self) -> frozenset[str]:
        """The pseudonyms of all whose part of a cut is kept."""
        return frozenset().union(*(cut.sides for cut in self.cuts))

    @property
    def size(self) -> int:
        """How much is kept, a number that only grows, but by a person's decision."""
        return sum(cut.size for cut in self.cuts) + sum(use.size for use in self.uses)

    @property
    def text(self) -> bytes:
        cuts, uses = map(vars, self.cuts), map(vars, self.uses)  # not `asdict`, which copies each patient's modalities
        more = {"refused": self.refused, "unknown": self.unknown}
        return json.dumps({"format": FORMAT, "cuts": [*cuts], "uses": [*uses], **more}).encode()


_BOOK = TypeAdapter(Book)  # what no release wrote is damage, in whatever depth


def lacking(state: Path) -> int:
    """Return how many patients' sides, and studies, the file lacks that the audit log has the number of."""
    return max(0, _recorded(state) - _read(state / FILE).size)


def require_whole(state: Path) -> None:
    """RunError where the file lacks what the audit log counts. Without the lock, which may be another user's."""
    recorded = _recorded(state)  # before the file: what an agent keeps meanwhile is in the file first
    _require_whole(state, _read(state / FILE), recorded)


def read(state: Path) -> Book:
    """Return what the file holds, without the lock. RunError where it cannot be used."""
    return _read(state / FILE)


def record(state: Path) -> None:
    """Put on record how much is kept, as a person accepted it: what is deleted from here on is noticed again."""
    with opened(state):
        pass  # what the log does not count yet is counted as the file is let go


@contextmanager
def opened(state: Path) -> Iterator[Book]:
    """Give what the file holds, locked; what is changed in it is on disk when the block ends, and nothing of it when it
    raises. RunError when it lacks some, or cannot be used.
    """
    make_private(state)
    path = state / FILE
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(state / "cuts.lock"))
        except OSError as problem:
            raise _unusable(state / "cuts.lock", problem) from None
        kept, recorded = _read(path), _recorded(state)
        _require_whole(state, kept, recorded)
        before = kept.text
        yield kept
        if (after := kept.text) != before:
            write_whole(path, after)
        if kept.size != recorded:  # behind the file, so that the newest file lacks nothing; also what a kill left
            Audit(state / AUDIT_FILE).append(CutsKept(kept.size))


def _recorded(state: Path) -> int:
    """The size that was recorded last, since a person accepted records that lacked some."""
    size = 0
    for event in Audit(state / AUDIT_FILE).readable(CutsKept, SumsAccepted):
        size = event.entries if isinstance(event, CutsKept) else 0
    return size


def _require_whole(state: Path, kept: Book, recorded: int) -> None:
    if (missing := recorded - kept.size) > 0:
        raise RunError(
            f"{state / FILE}: lacks {missing} entries that the audit log beside it counts. It was put back from a "
            "copy, or deleted, so this site does not know any more how the patients were cut in studies whose sums "
            "are out. Put the newest copy back. If there is none, a person may decide to go on with what this one "
            "says: wardround site accept-sums"
        )


def _read(path: Path) -> Book:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = int(content["format"])
        if number > FORMAT:
            raise RunError(f"{path}: is of a newer release of wardround (format {number}). Install that release here.")
        return _BOOK.validate_python({"cuts": content["cuts"]} | content)
    except FileNotFoundError:
        return Book()
    except OSError as problem:
        raise _unusable(path, problem) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(
            f"{path}: is damaged. Restore it from a backup taken after the last round. If there is none, move it away, "
            "and a person may decide to go on without it: wardround site accept-sums"
        ) from None


def _unusable(path: Path, problem: OSError) -> RunError:
    return RunError(f"{path}: cannot be read ({problem.strerror}). Mend its owner and its permissions, or the disk.")
