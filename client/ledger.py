"""The ledger: all that was ever released from this site's patients, on disk, and the refusal to release more.

A file of JSON lines, one an entry, only ever added to. An entry is on the disk before anything that it pays for is
made (write-ahead), so that a crash can lose a release and its price, but never only the price. Each line carries the
SHA-256 of its text and of the line before: a line that was changed, lost or moved is noticed, though a person who can
write the file can also write a new one. What no site can notice by itself is an older copy of the whole file: never
restore a state folder from a backup.

Which patients an entry charges: those in training, or those held out. The two never meet in one study, so each has the
whole budget (parallel composition). Between studies a patient may change sides, so the worst case over sides counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, product
from pathlib import Path
from typing import Any, Literal, get_args

from common.errors import BudgetError, PrivacyError
from common.privacy.accounting import Accountant, Release, epsilon

log = logging.getLogger("wardround.ledger")

Cohort = Literal["training", "held_out"]
_SIDES: tuple[Cohort, ...] = get_args(Cohort)
_FREE_STUDIES = 4  # of the other studies, so many are tried on both sides; any more are counted on both at once
ROUNDING = 1 + 1e-9  # a plan is calibrated to its limit, and other versions of the libraries round the last bits apart


@dataclass(frozen=True)
class Entry:
    """What one attempt at one round releases from one cohort's patients. `study` is the study's digest."""

    study: str
    run: str
    round: int
    attempt: int
    cohort: Cohort
    releases: tuple[Release, ...]

    @property
    def key(self) -> tuple[str, str, int, int, str]:
        """What may be paid for only once."""
        return self.study, self.run, self.round, self.attempt, self.cohort


class Ledger:
    """Privacy spent at this site. Safe between threads and processes: nothing is kept in memory between calls."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"Ledger({str(self._path)!r})"

    def spend(self, entry: Entry, limit: float, delta: float, accountant: Accountant = "rdp") -> bool:
        """Write the entry down, on disk when this returns; True.

        False if it was there already: it is paid for, and what it paid for may already be out. The caller may then
        send again the very bytes that it made before, and nothing newly made.

        Raises BudgetError, and writes nothing, if the epsilon of any patient whom the entry charges would pass
        `limit`, if the same attempt was charged for something else, or if the ledger is damaged.
        """
        with self._locked() as file:
            entries, seal = self._read(file)
            paid = next((old for old in entries if old.key == entry.key), None)
            if paid == entry:
                return False
            if paid is not None:
                raise BudgetError(
                    f"Round {entry.round}, attempt {entry.attempt} was charged for something else before; "
                    "what is new needs a new attempt."
                )
            projected = _worst([*entries, entry], delta, accountant, entry.study, entry.cohort)
            if not projected <= limit * ROUNDING:
                spent = _worst(entries, delta, accountant, entry.study, entry.cohort)
                raise BudgetError(
                    f"The ledger refuses: {entry.cohort} patients would reach epsilon {projected:.3f} at delta "
                    f"{delta:g}. The limit is {limit:g}, and {spent:.3f} is spent, over all studies and runs. "
                    "The study needs more noise or fewer rounds, or the site may grant a larger limit."
                )
            self._append(file, entry, seal)
            return True

    def spent(
        self, delta: float, cohort: Cohort | None = None, accountant: Accountant = "rdp", study: str | None = None
    ) -> float:
        """The largest epsilon of any patient so far; with `cohort`, of those who were in it in `study`.

        `study` is a digest; without it the study of the last entry is meant.
        """
        entries = self.entries()
        if not entries:
            return 0.0
        meant = study or entries[-1].study
        return max(_worst(entries, delta, accountant, meant, side) for side in ([cohort] if cohort else _SIDES))

    def after(self, more: Iterable[Entry], delta: float, accountant: Accountant, study: str) -> float:
        """The largest epsilon of any patient of this study, were these entries added."""
        entries = [*self.entries(), *more]
        return max(_worst(entries, delta, accountant, study, side) for side in _SIDES)

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        with self._locked() as file:
            return self._read(file)[0]

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, which no other thread or process has until the block ends."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as problem:
            raise self._unusable(problem) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.fchmod(file, 0o600)
            yield file
        except OSError as problem:
            raise self._unusable(problem) from None
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing does not free it while a child forked meanwhile has the file
            os.close(file)

    def _read(self, file: int) -> tuple[list[Entry], str]:
        """All entries, and the last seal. A last line without its end is mended."""
        content = _content(file)
        whole, _, tail = content.rpartition(b"\n")
        entries, seal = list[Entry](), ""
        for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
            entry, seal = self._parse(line, seal, number)
            entries.append(entry)
        if tail:
            try:
                entry, seal = self._parse(tail, seal, len(entries) + 1)
                entries.append(entry)
                _write(file, b"\n")
            except BudgetError:
                # It was the last thing written, and nothing is released before its line is whole.
                log.warning(
                    "%s: a crash cut the last line off. It had paid for nothing yet, and is dropped.", self._path
                )
                os.ftruncate(file, len(content) - len(tail))
                os.fsync(file)
        return entries, seal

    def _parse(self, line: bytes, before: str, number: int) -> tuple[Entry, str]:
        try:
            stored = json.loads(line)
            seal = stored.pop("seal")
            if seal != _seal(stored, before):
                raise ValueError
            releases = tuple(Release(**release) for release in stored.pop("releases"))
            return Entry(**stored, releases=releases), seal
        except (ValueError, TypeError, KeyError, AttributeError, PrivacyError):
            raise BudgetError(
                f"{self._path}, line {number}: damaged, so nobody knows what was spent, and nothing more is released. "
                "Find out what changed the file. Moving it away starts the budget anew: that is the site's to decide."
            ) from None

    def _append(self, file: int, entry: Entry, before: str) -> None:
        content = asdict(entry)
        line = json.dumps({**content, "seal": _seal(content, before)}, separators=(",", ":"))
        _write(file, line.encode() + b"\n")
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the file's name is on the disk too
        finally:
            os.close(folder)

    def _unusable(self, problem: OSError) -> BudgetError:
        return BudgetError(
            f"{self._path}: cannot be read or written ({problem.strerror}), so nothing is released. "
            "Check the disk and the folder's permissions."
        )


def _worst(entries: Iterable[Entry], delta: float, accountant: Accountant, study: str, cohort: Cohort) -> float:
    """Epsilon of a patient in `cohort` in `study`, on whichever side of every other study costs most."""
    studies: dict[str, dict[Cohort, list[Release]]] = {}
    for entry in entries:
        sides = studies.setdefault(entry.study, {side: [] for side in _SIDES})
        sides[entry.cohort].extend(entry.releases)
    certain = list(studies.pop(study, {}).get(cohort, []))
    others = [list(sides.values()) for sides in studies.values()]
    for both in others[:-_FREE_STUDIES]:
        certain += chain.from_iterable(both)
    choices = product(*others[-_FREE_STUDIES:])
    return max(epsilon([*certain, *chain.from_iterable(choice)], delta, accountant) for choice in choices)


def _seal(content: dict[str, Any], before: str) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()


def _content(file: int) -> bytes:
    parts, at = [], 0
    while part := os.pread(file, 1 << 20, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _write(file: int, content: bytes) -> None:
    """All of it, and on the disk."""
    while content:
        content = content[os.write(file, content) :]
    os.fsync(file)
