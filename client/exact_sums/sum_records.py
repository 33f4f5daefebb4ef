"""What a site must remember of its secure sums, on disk, so that no crash, copy or restart makes it answer twice.

    runs       per run, the highest number that it made an offer for, and the highest that it made a masked vector for
    answered   what was summed over whom: a question about the same data is answered over one set of sites only
    sets       by segment, all the sets of sites that this site confirmed a sum over; without privacy
    waiting    the sites that waited for lost sites, by what each of them signed last in a sum confirmed here
    allowed    the sets of sites that a person allowed, and whom this person was told that they show
    names      what the sites were called

A site is its public signing key: another hospital that takes over the name of one that left is another site, and so is
one that made itself new keys.

Every claim is checked and written under one lock, and is on disk before what it allows. Two processes on one state
folder (a fork, a second daemon, a machine resumed from a snapshot) share these claims; on two disks they cannot.
A claim looks up what it needs, and takes as long after a million runs as after one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection

from client.exact_sums.asked import Asked
from client.exact_sums.kept_sets import KeptSet, is_allowed, is_apart, small_atoms
from client.exact_sums.sums_file import RECORDS, opened
from common.errors import AnsweredError, ProtocolOrderError, RunError
from common.study import SHARED

_SHOWN = 8  # digits of a key
_NOT_KNOWN = "What it shows beside sums that this site was not in, this site does not know: ask the others."


@dataclass(frozen=True)
class Made:
    """The highest number that a run made an offer for, and the highest that it made a masked vector for."""

    number: int = 0
    upload: int = 0


@dataclass(frozen=True)
class Known:
    """What another record of this site knows of its sums: by run, and how much the records hold at least."""

    runs: Mapping[str, Made]
    held: int = 0


class SumRecords:
    """The claims that a site made for its secure sums, in `secure_sum.db` of its state folder.

    made: what another record of this site knows of its sums. Records that lack some of it were put back, or deleted,
    and are refused: this site would answer again what it has forgotten
    """

    def __init__(self, state: Path, made: Callable[[], Known] | None = None) -> None:
        self._state, self._made = state, made
        self._whole: int | None = None  # the file that lacked nothing, by the number that it was given when it was made
        self._changes = 0  # how often that one was changed when it was last used here

    def lacking(self, made: Known) -> int:
        """Return of how many runs, at least, the records lack sums that the other record has."""
        with opened(self._state) as (file, _):
            return _lacking(file, made)

    def held(self) -> int:
        """Return how much the records hold. What is taken from them later, or put back in their place, holds less."""
        with opened(self._state) as (file, _):
            return _held(file)

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        """The records; RunError when they lack what the other record has. That is looked at once a file, and again when
        the file has fewer changes than before: a copy of it has the same number.
        """
        with opened(self._state) as (file, changes):
            (which,) = file.execute("PRAGMA application_id").fetchone()
            is_known = which == self._whole and changes >= self._changes
            if self._made is not None and not is_known and (runs := _lacking(file, self._made())):
                raise RunError(
                    f"{self._state / RECORDS}: lacks sums of {runs} runs that the audit log beside it has. It was put "
                    "back from a copy, or deleted, so this site does not know any more what it answered, and over "
                    "which sites. Put the newest copy back. If there is none, a person may decide to go on with what "
                    "this one says: wardround site accept-sums"
                )
            self._whole, self._changes, before = which, changes, file.total_changes
            yield file
            self._changes += file.total_changes > before

    def offering(self, run: str, number: int) -> None:
        """Claim a number. ProtocolOrderError unless it is above all before."""
        with self._opened() as file:
            _raise_to(file, "number", run, number, "The number of this sum was used before; count on.")

    def uploading(self, run: str, number: int) -> None:
        """Claim the only upload of a number. ProtocolOrderError when one was made, here or by a copy of this site."""
        with self._opened() as file:
            _raise_to(file, "upload", run, number, "A masked vector was made for this number before.")

    def require_allowed(self, asked: Asked, survivors: Collection[str]) -> None:
        """AnsweredError when what is asked may not be summed over these sites, for what was summed over others."""
        with self._opened() as file:
            _require_same(file, asked, survivors)
            _require_hidden(file, asked, survivors)

    def anybody_waits(self, asked: Asked | None = None) -> bool:
        """Return whether a site waits for lost ones: of this sum, or of another that is kept here."""
        with self._opened() as file:
            return _anybody_waits(file, asked or Asked(waits=False))

    def confirming(self, asked: Asked, survivors: Collection[str]) -> None:
        """Claim a sum over these sites before this site's confirmation leaves. AnsweredError as `require_allowed`.

        Of the others only t are asked for shares. A set that a site learnt of when it gave its own would be unknown to
        the rest, and so combine with sums over other sites.
        """
        with self._opened() as file:
            _require_same(file, asked, survivors)
            _require_hidden(file, asked, survivors)
            if _anybody_waits(file, asked):
                _claim_answers(file, asked, survivors)
            named = [(key, name) for name, key in asked.signers.get(SHARED, {}).items()]
            file.executemany("INSERT OR REPLACE INTO names VALUES (?, ?)", named)
            for segment, new in asked.sets(survivors).items():
                file.execute(
                    "INSERT INTO sets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET colluding = max(colluding, ?)",
                    (segment, _text(new.sites), new.colluding, new.colluding),
                )
            file.executemany("DELETE FROM waiting WHERE site = ?", [(key,) for key in asked.said])
            file.executemany("INSERT INTO waiting VALUES (?)", [(key,) for key, waits in asked.said.items() if waits])

    def answering(self, asked: Asked, survivors: Collection[str]) -> None:
        """Claim these answers over these sites, which were confirmed. AnsweredError as `require_allowed`.

        Where nobody waits, they are claimed here and no sooner: a sum that could not be opened is made again over those
        who are left.
        """
        with self._opened() as file:
            _require_same(file, asked, survivors)
            _require_hidden(file, asked, survivors)
            _claim_answers(file, asked, survivors)

    def allow(self, sites: Mapping[str, str], told: Collection[frozenset[str]]) -> None:
        """A person allows sums over just these sites (name -> key), as long as they show nobody but whom this person
        was `told` of (`showing`) beside the sums that this site was in.
        """
        row = _text(sites.values()), json.dumps(sorted(sorted(several) for several in told))
        with self._opened() as file:
            file.execute("INSERT OR REPLACE INTO allowed VALUES (?, ?)", row)

    def showing(self, sites: Mapping[str, str], colluding: int = 1) -> list[frozenset[str]]:
        """Return whom (keys) a sum over these sites (name -> key) shows beside the sums before: each set of them
        together, and a set of one alone.

        colluding: the largest number of sites that may, by any study that may ask
        """
        with self._opened() as file:
            return small_atoms(list(_kept(file, SHARED)), KeptSet(frozenset(sites.values()), colluding))

    def in_words(self, shown: Collection[frozenset[str]], sites: Mapping[str, str]) -> list[str]:
        """Return whom `showing` found as sentences, where `sites` (name -> key) are called as now."""
        found, names = list[str](), self._names(sites)
        for several in sorted(sorted(names.get(key, key[:_SHOWN]) for key in atom) for atom in shown):
            who = f"{', '.join(several)} together" if len(several) > 1 else f"{several[0]} alone"
            found.append(f"Whoever has the sums before can compute from such a sum what {who} added.")
        return [*(found or ["Beside the sums that this site was in, such a sum shows nobody."]), _NOT_KNOWN]

    def _names(self, sites: Mapping[str, str]) -> dict[str, str]:
        """Key -> name, told apart where another key had the name before."""
        with self._opened() as file:
            names = {
                key: f"{name} (key {key[:_SHOWN]}, as it was)" for key, name in file.execute("SELECT * FROM names")
            }
        return names | {key: name for name, key in sites.items()}

    def kept(self) -> Mapping[str, tuple[KeptSet, ...]]:
        """Return the sets of sites that this site confirmed a sum over, by segment."""
        with self._opened() as file:
            segments = [row[0] for row in file.execute("SELECT DISTINCT segment FROM sets ORDER BY segment")]
            return {segment: tuple(_kept(file, segment)) for segment in segments}


def _lacking(file: Connection, made: Known) -> int:
    found = 0
    for run, known in made.runs.items():
        row = file.execute("SELECT number, upload FROM runs WHERE run = ?", (_key(run),)).fetchone() or (0, 0)
        found += row[0] < known.number or row[1] < known.upload
    return max(found, int(bool(made.held) and _held(file) < made.held))


def _held(file: Connection) -> int:
    """Return how much the records hold. It only grows: numbers are raised, and what was answered, over whom, stays."""
    (numbers,) = file.execute("SELECT total(number + upload) FROM runs").fetchone()
    (answers,) = file.execute("SELECT count(*) FROM answered").fetchone()
    (sets,) = file.execute("SELECT count(*) FROM sets").fetchone()
    return int(numbers) + int(answers) + int(sets)


def _key(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()


def _raise_to(file: Connection, column: str, run: str, number: int, refusal: str) -> None:
    key = _key(run)
    row = file.execute(f"SELECT {column} FROM runs WHERE run = ?", (key,)).fetchone()  # noqa: S608  # a word of ours
    if row is not None and number <= row[0]:
        raise ProtocolOrderError(refusal)
    file.execute(
        f"INSERT INTO runs (run, {column}) VALUES (?, ?) ON CONFLICT DO UPDATE SET {column} = ?",  # noqa: S608
        (key, number, number),
    )


def _require_same(file: Connection, asked: Asked, survivors: Collection[str]) -> None:
    same = (_digest(asked.over(survivors)), _digest(survivors)) if asked.questions else ()  # release 0.1 kept names
    for question in asked.questions:
        row = file.execute("SELECT sites FROM answered WHERE question = ?", (question,)).fetchone()
        if row is not None and row[0] not in same:
            raise AnsweredError(
                "This was summed before over other sites, and the difference of the two sums would show a site. "
                "Only the same sites can repeat it; a private study pays for a new answer instead."
            )


def _require_hidden(file: Connection, asked: Asked, survivors: Collection[str]) -> None:
    """AnsweredError for a sum that shows, beside the sums before it, what a few sites added; where anybody waits.

    What all add is summed over the same sites as before alone. Of a modality, or a part of the cohort, the partition
    that its sites and all its sets before make has no small atom. Where a person allowed these sites, told whom the
    sums of `shared` show, the others may show some of these and nobody else.
    """
    if not asked.signers or not _anybody_waits(file, asked):
        return
    sets = asked.sets(survivors)
    told = _told(file, sets[SHARED])
    _require_one_set(list(_kept(file, SHARED)), sets[SHARED], told)
    for segment, new in sets.items():
        kept = list(_kept(file, segment))
        if segment == SHARED or is_allowed(kept, new):
            continue
        if not all(any(atom <= one for one in told or ()) for atom in small_atoms(kept, new)):
            raise AnsweredError(
                f"A sum of {segment!r} over these {len(new.sites)} sites would show, beside the sums over others of "
                "them before, what a few sites added. It is given over the same sites as before, also where a person "
                "allowed the set of all sites, told of others."
            )


def _told(file: Connection, new: KeptSet) -> set[frozenset[str]] | None:
    """Whom a person was told of who allowed sums over these sites; None where nobody did."""
    row = file.execute("SELECT told FROM allowed WHERE sites = ?", (_text(new.sites),)).fetchone()
    return None if row is None else {frozenset(several) for several in json.loads(row[0])}


def _require_one_set(kept: Collection[KeptSet], new: KeptSet, told: Collection[frozenset[str]] | None) -> None:
    """AnsweredError for what all add over other sites than before, but where it shows whom a person was told of."""
    if is_apart(kept, new):
        return
    if told is None:
        raise AnsweredError(
            f"A sum over these {len(new.sites)} sites may show, beside the sums over other sites before, what a few "
            "sites added. It is given over the same sites as before. If a hospital has newly come, or has new keys, a "
            "person may allow the new set of sites: wardround site allow-set."
        )
    if not set(small_atoms(kept, new)) <= set(told):
        raise AnsweredError(
            f"A person allowed sums over these {len(new.sites)} sites, and was told whom they show. Beside what was "
            "summed, or which studies were approved, since then they show others. Ask again: wardround site allow-set."
        )


def _anybody_waits(file: Connection, asked: Asked) -> bool:
    """Return whether this site waits for lost ones, a member of the sum, or a site of an earlier sum that is no member
    of this one: by what it signed last. Who is left out of a sum cannot refuse it.
    """
    if asked.waits or any(asked.said.values()):
        return True
    return any(key not in asked.said for (key,) in file.execute("SELECT site FROM waiting"))


def _claim_answers(file: Connection, asked: Asked, survivors: Collection[str]) -> None:
    rows = [(question, _digest(asked.over(survivors))) for question in asked.questions]
    file.executemany("INSERT OR IGNORE INTO answered VALUES (?, ?)", rows)


def _kept(file: Connection, segment: str) -> Iterator[KeptSet]:
    for sites, colluding in file.execute("SELECT sites, colluding FROM sets WHERE segment = ?", (segment,)):
        yield KeptSet(frozenset(json.loads(sites)), colluding)


def _text(sites: Iterable[str]) -> str:
    return json.dumps(sorted(sites))


def _digest(sites: Iterable[str]) -> str:
    return hashlib.sha256(_text(sites).encode()).hexdigest()
