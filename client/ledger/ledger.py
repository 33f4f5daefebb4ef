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
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client.ledger.spending import Spending
from common.disk.journal import BrokenError, Journal, Seen, content_of
from common.errors import BudgetError, PrivacyError
from common.privacy.accounting import Accountant, Release
from common.privacy.accounts import SIDES, Account, sides_of

log = logging.getLogger("wardround.ledger")

FORMAT = 2  # of a line; one without a number is of format 0, release 0.1's
SEVERAL = 2  # of a line that charges several sides as one; others keep format 1, which release 0.2 reads
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


@dataclass(frozen=True)
class _Line:
    """An entry as it stands in the file: all that its line says but the seal, and the seal over that."""

    entry: Entry
    seal: str
    said: dict[str, Any]

    @property
    def text(self) -> bytes:
        return json.dumps({**self.said, "seal": self.seal}, separators=(",", ":")).encode() + b"\n"


class _Form:
    """How a journal reads lines of a ledger."""

    newest = FORMAT

    def read(self, line: bytes) -> _Line | None:
        try:
            said = json.loads(line)
            seal = said.pop("seal")
            values = dict(said)
            format_ = values.pop("format", None)
            if type(format_) is int and format_ > FORMAT:
                return None
            releases = tuple(Release(**release) for release in values.pop("releases"))
            entry = Entry(**values, releases=releases)
            sides_of(entry.cohort)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, PrivacyError):
            return None
        return _Line(entry, seal, said)

    def follows(self, record: _Line, last: _Line | None) -> bool:
        return record.seal == _seal(record.said, last)


def _seal(said: dict[str, Any], last: _Line | None) -> str:
    """SHA-256 over the seal of the line before and what this one says."""
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{last.seal if last else ''}\n{text}".encode()).hexdigest()


@dataclass
class _Book:
    """A ledger as far as it was read."""

    seen: Seen[_Line] = field(default_factory=Seen)
    entries: list[Entry] = field(default_factory=list)
    by_key: dict[tuple[str, str, int, int, str], Entry] = field(default_factory=dict)
    charges: Charges = field(default_factory=Counter)
    spending: Spending = field(default_factory=Spending)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.by_key.setdefault(entry.key, entry)
        self.charges[entry.study, entry.run, entry.round, entry.cohort] += 1
        if entry.exact:
            self.spending.exact.add(entry.study)
        else:
            self.spending.add(entry.study, entry.split, entry.cohort, entry.releases)

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
        self._journal = Journal(path, _Form(), self._unusable, through_links=True)
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
        with self._journal.writing() as file:
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
        with self._journal.writing() as file:
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
        with self._journal.writing() as file:
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

    def _read(self, file: int) -> _Book:
        """The ledger as it is in the file. A last line that lacks nothing but its line feed is given it; of another,
        which was the last thing written, nothing was released: it is taken away.
        """
        book, unfinished = self._parsed(content_of(file))
        if not unfinished:
            return book
        seen = book.seen
        try:
            line = self._journal.next(unfinished, seen.last, seen.count + 1)
        except BrokenError as found:
            if found.format:
                raise self._damaged(found) from None  # whole or not: another release's
            log.warning("%s: a crash cut the last line off. It had paid for nothing yet, and is dropped.", self._path)
            self._journal.take_away(file, unfinished)
        else:
            self._journal.add(file, b"\n")
            book.add(line.entry)
            book.seen = Seen(seen.content + unfinished + b"\n", seen.count + 1, line)
        return book

    def _parsed(self, content: bytes) -> tuple[_Book, bytes]:
        """What the whole lines say, and an unfinished last one. Only lines behind those read before are parsed; a file
        that does not begin with the very bytes that were read is read anew, and compared with the other record.
        """
        known = self._book if self._book is not None and content.startswith(self._book.seen.content) else None
        self._book, book = None, known or _Book()  # only a whole one is kept
        try:
            lines, book.seen, unfinished = self._journal.read_on(book.seen, content)
        except BrokenError as found:
            raise self._damaged(found) from None
        for line in lines:
            book.add(line.entry)
        if known is None and self._charged is not None:
            self._require_all(book.charges, self._charged())
        self._book = book
        return book, unfinished

    def _require_all(self, here: Charges, known: Known) -> None:
        """BudgetError when the other record has a charge that is not in this ledger."""
        if missing := known.lacking(here):
            raise BudgetError(
                f"{self._path}: lacks {missing} charges that the audit log beside it has. It was put back from a copy, "
                "or deleted: patients have spent more than it says, so nothing more is released. Put the newest copy "
                "of the ledger back. If there is none, a person may decide to go on with what this one says: wardround "
                "site accept-ledger"
            )

    def _damaged(self, found: BrokenError) -> BudgetError:
        if found.format:
            return BudgetError(
                f"{self._path}, line {found.number}: is of format {found.format}, and this release of wardround reads "
                f"up to {FORMAT}. A newer release wrote it: install that one. Nothing is released until then."
            )
        return BudgetError(
            f"{self._path}, line {found.number}: damaged, so nobody knows what was spent, and nothing more is "
            "released. Find out what changed the file. Moving it away starts the budget anew: that is the site's to "
            "decide."
        )

    def _append(self, file: int, entry: Entry, book: _Book) -> None:
        said = {"format": SEVERAL if "+" in entry.cohort else 1, **asdict(entry)}
        line = _Line(entry, _seal(said, book.seen.last), said)
        self._journal.add(file, line.text)
        book.add(entry)
        book.seen = Seen(book.seen.content + line.text, book.seen.count + 1, line)

    def _unusable(self, problem: OSError) -> BudgetError:
        return BudgetError(
            f"{self._path}: cannot be read or written ({problem.strerror}), so nothing is released. "
            "Check the disk and the folder's permissions."
        )
