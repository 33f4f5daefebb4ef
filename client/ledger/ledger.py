"""The ledger: all that was ever released from this site's patients, on disk, and the refusal to release more.

A file of JSON lines, one an entry, only ever added to. An entry is on the disk before anything that it pays for is
made (write-ahead), so that a crash can lose a release and its price, but never only the price. Each line carries the
SHA-256 of its text and of the line before: a line that was changed, lost or moved is noticed, though a person who can
write the file can also write a new one. An older copy of the whole file, or none, is noticed by the audit log beside
it, which has a line for each charge; a copy of the whole folder is not: never restore a state folder from a backup.

Which patients an entry charges: those in training, in validation or in test (`client/ledger/spending.py`). The three
never meet in one split of one study, so each has the whole budget (parallel composition). Lines of release 0.1 have no
format; their `held_out` is validation and test as one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client.ledger.spending import Spending
from common.disk.lock import locked
from common.errors import BudgetError, PrivacyError
from common.privacy.accounting import Accountant, Release
from common.privacy.accounts import SIDES, Account, sides_of

log = logging.getLogger("wardround.ledger")

FORMAT = 1  # of a line; one without a number is of format 0, release 0.1's
Charges = Counter[tuple[str, str, int, str]]  # study, run, round, account -> how often it was charged


@dataclass(frozen=True)
class Known:
    """What another record of this site knows of a ledger: charges that it has, and how many entries at least."""

    charges: Charges
    entries: int = 0

    def lacking(self, here: Charges) -> int:
        """Return how many of them a ledger with these charges lacks; 0 for the newest one."""
        return max((self.charges - here).total(), self.entries - here.total())


ROUNDING = 1 + 1e-9  # a plan is calibrated to its limit, and other versions of the libraries round the last bits apart


@dataclass(frozen=True)
class Entry:
    """What one attempt at one round releases from one account's patients.

    study: the study's digest
    split: which of the splits that the study had at this site: see `client/data/sides.py`
    exact: the study has no privacy, and there is nothing to add up: exact sums are out
    """

    study: str
    run: str
    round: int
    attempt: int
    cohort: Account
    releases: tuple[Release, ...]
    split: str = ""
    exact: bool = False

    @property
    def key(self) -> tuple[str, str, int, int, str]:
        """What may be paid for only once."""
        return self.study, self.run, self.round, self.attempt, self.cohort


@dataclass
class _Book:
    """A ledger as it was read: `content` are the very bytes of its whole lines."""

    content: bytes = b""
    entries: list[Entry] = field(default_factory=list)
    by_key: dict[tuple[str, str, int, int, str], Entry] = field(default_factory=dict)
    charges: Charges = field(default_factory=Counter)
    spending: Spending = field(default_factory=Spending)
    seal: str = ""

    def add(self, entry: Entry, seal: str) -> None:
        self.entries.append(entry)
        self.by_key.setdefault(entry.key, entry)
        self.charges[entry.study, entry.run, entry.round, entry.cohort] += 1
        if entry.exact:
            self.spending.exact.add(entry.study)
        else:
            self.spending.add(entry.study, entry.split, entry.cohort, entry.releases)
        self.seal = seal

    def split_of(self, study: str) -> str:
        """The split that the study had when it was charged last."""
        return next((entry.split for entry in reversed(self.entries) if entry.study == study and not entry.exact), "")


class Ledger:
    """Privacy spent at this site. Safe between threads and processes: each call reads what is new in the file.

    charged: what another record of this site knows of it. A ledger that lacks some of that was put back or deleted, and
    is refused.
    """

    def __init__(self, path: Path, charged: Callable[[], Known] | None = None) -> None:
        self._path, self._charged = path, charged
        self._book: _Book | None = None

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
            book = self._read(file)
            paid = book.by_key.get(entry.key)
            if paid == entry:
                return False
            if paid is not None:
                raise BudgetError(
                    f"Round {entry.round}, attempt {entry.attempt} was charged for something else before; "
                    "what is new needs a new attempt."
                )
            self._require_within(book, entry, limit, delta, accountant)
            self._append(file, entry, book)
            return True

    def note_exact(self, entry: Entry) -> None:
        """Write down that a study without privacy shows exact sums of these patients, once a study, split and account.

        On disk when this returns. It charges nothing and refuses nothing; a damaged ledger raises BudgetError.
        """
        with self._locked() as file:
            book = self._read(file)
            known = {(old.study, old.split, old.cohort) for old in book.entries if old.exact}
            if (entry.study, entry.split, entry.cohort) not in known:
                self._append(file, entry, book)

    def spent(
        self, delta: float, cohort: Account | None = None, accountant: Accountant = "rdp", study: str | None = None
    ) -> float:
        """The largest epsilon of any patient so far; with `cohort`, of those who are in it in `study`.

        `study` is a digest; without it the study of the last entry is meant.
        """
        book = self._now()
        if not book.entries:
            return 0.0
        meant = study or book.entries[-1].study
        sides = SIDES if cohort is None else sides_of(cohort)
        return book.spending.worst(meant, book.split_of(meant), sides, delta, accountant)

    def after(self, more: Iterable[Entry], delta: float, accountant: Accountant, study: str) -> float:
        """The largest epsilon of any patient of this study, were these entries added, in the split that it has now."""
        book = self._now()
        spending, split = book.spending.copy(), book.split_of(study)
        for entry in more:
            spending.add(entry.study, split, entry.cohort, entry.releases)
        return spending.worst(study, split, SIDES, delta, accountant)

    def exact(self) -> frozenset[str]:
        """The digests of the studies without privacy whose exact sums are out."""
        return frozenset(self._now().spending.exact)

    def charges(self) -> Charges:
        """How often each account was charged for each round."""
        return Counter(self._now().charges)

    def entries(self) -> list[Entry]:
        """All entries, oldest first."""
        return list(self._now().entries)

    def _now(self) -> _Book:
        """The ledger as it is; an empty one where there is no file, which reading does not make."""
        if not os.path.lexists(self._path):
            return self._parsed(b"")[0]
        with self._locked() as file:
            return self._read(file)

    def _require_within(self, book: _Book, entry: Entry, limit: float, delta: float, accountant: Accountant) -> None:
        projected = book.spending.copy()
        projected.add(entry.study, entry.split, entry.cohort, entry.releases)
        sides = sides_of(entry.cohort)
        then = projected.worst(entry.study, entry.split, sides, delta, accountant)
        if not then <= limit * ROUNDING:
            spent = book.spending.worst(entry.study, entry.split, sides, delta, accountant)
            raise BudgetError(
                f"The ledger refuses: {entry.cohort} patients would reach epsilon {then:.3f} at delta "
                f"{delta:g}. The limit is {limit:g}, and {spent:.3f} is spent, over all studies and runs. "
                "The study needs more noise or fewer rounds."
            )

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, which no other thread or process has until the block ends."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self._path) as file:
                os.fchmod(file, 0o600)
                yield file
        except OSError as problem:
            raise self._unusable(problem) from None

    def _read(self, file: int) -> _Book:
        """The ledger as it is in the file. A last line without its end is mended."""
        content = _content(file)
        book, tail = self._parsed(content)
        if tail:
            try:
                entry, seal = self._parse(tail, book.seal, len(book.entries) + 1)
                _write(file, b"\n")
                book.add(entry, seal)
                book.content = content + b"\n"
            except BudgetError:
                # It was the last thing written, and nothing is released before its line is whole.
                log.warning(
                    "%s: a crash cut the last line off. It had paid for nothing yet, and is dropped.", self._path
                )
                os.ftruncate(file, len(content) - len(tail))
                os.fsync(file)
        return book

    def _parsed(self, content: bytes) -> tuple[_Book, bytes]:
        """What the whole lines say, and an unfinished last one. Only lines behind those read before are parsed; a file
        that does not begin with the very bytes that were read is read anew, and compared with the other record.
        """
        end = content.rfind(b"\n") + 1
        known = self._book if self._book is not None and content.startswith(self._book.content) else None
        self._book, book = None, known or _Book()  # only a whole one is kept
        new = content[len(book.content) : end]
        for line in new[:-1].split(b"\n") if new else []:
            book.add(*self._parse(line, book.seal, len(book.entries) + 1))
        book.content = content[:end]
        if known is None and self._charged is not None:
            self._require_all(book.charges, self._charged())
        self._book = book
        return book, content[end:]

    def _require_all(self, here: Charges, known: Known) -> None:
        """BudgetError when the other record has a charge that is not in this ledger."""
        if missing := known.lacking(here):
            raise BudgetError(
                f"{self._path}: lacks {missing} charges that the audit log beside it has. It was put back from a copy, "
                "or deleted: patients have spent more than it says, so nothing more is released. Put the newest copy "
                "of the ledger back. If there is none, a person may decide to go on with what this one says: wardround "
                "site accept-ledger"
            )

    def _parse(self, line: bytes, before: str, number: int) -> tuple[Entry, str]:
        try:
            stored = json.loads(line)
            format_ = stored.get("format", 0)
            if type(format_) is int and format_ > FORMAT:
                raise BudgetError(
                    f"{self._path}, line {number}: is of format {format_}, and this release of wardround reads up to "
                    f"{FORMAT}. A newer release wrote it: install that one. Nothing is released until then."
                )
            seal = stored.pop("seal")
            if seal != _seal(stored, before):
                raise ValueError
            stored.pop("format", None)
            releases = tuple(Release(**release) for release in stored.pop("releases"))
            entry = Entry(**stored, releases=releases)
            sides_of(entry.cohort)
            return entry, seal
        except (ValueError, TypeError, KeyError, AttributeError, PrivacyError) as problem:
            if isinstance(problem, BudgetError):
                raise
            raise BudgetError(
                f"{self._path}, line {number}: damaged, so nobody knows what was spent, and nothing more is released. "
                "Find out what changed the file. Moving it away starts the budget anew: that is the site's to decide."
            ) from None

    def _append(self, file: int, entry: Entry, book: _Book) -> None:
        content = {"format": FORMAT, **asdict(entry)}
        seal = _seal(content, book.seal)
        line = json.dumps({**content, "seal": seal}, separators=(",", ":")).encode() + b"\n"
        _write(file, line)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the file's name is on the disk too
        finally:
            os.close(folder)
        book.add(entry, seal)
        book.content += line

    def _unusable(self, problem: OSError) -> BudgetError:
        return BudgetError(
            f"{self._path}: cannot be read or written ({problem.strerror}), so nothing is released. "
            "Check the disk and the folder's permissions."
        )


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
