"""What a site must remember of its secure sums, on disk, so that no crash, copy or restart makes it answer twice.

    runs       per run, the highest number that it made an offer for, and the highest that it made a masked vector for
    answered   what was summed over whom: a question about the same data is answered over one set of sites only
    sets       by segment, all the sets of sites that anything was opened over; without privacy
    waiting    the sites that waited for lost sites, by what each of them signed last in a sum that was opened
    allowed    the sets of sites that a person allowed, whatever they show

Every claim is checked and written under one lock, and is on disk before what it allows. Two processes on one state
folder (a fork, a second daemon, a machine resumed from a snapshot) share these claims; on two disks they cannot.
A claim looks up what it needs, and takes as long after a million runs as after one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from sqlite3 import Connection

from client.kept_sets import KeptSet, atoms, is_allowed
from client.questions import Asked
from client.sums_file import opened
from common.errors import AnsweredError, ProtocolOrderError
from common.parameters import SHARED


class SumRecords:
    """In `secure_sum.db` of a site's state folder."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def offering(self, run: str, number: int) -> None:
        """Claim a number. ProtocolOrderError unless it is above all before."""
        with opened(self._state) as file:
            _raise_to(file, "number", run, number, "The number of this sum was used before; count on.")

    def uploading(self, run: str, number: int) -> None:
        """Claim the only upload of a number. ProtocolOrderError when one was made, here or by a copy of this site."""
        with opened(self._state) as file:
            _raise_to(file, "upload", run, number, "A masked vector was made for this number before.")

    def require_allowed(self, asked: Asked, survivors: Collection[str]) -> None:
        """AnsweredError when what is asked may not be summed over these sites, for what was summed over others."""
        with opened(self._state) as file:
            _require_same(file, asked, survivors)
            _require_hidden(file, asked, survivors)

    def answering(self, asked: Asked, survivors: Collection[str]) -> None:
        """Claim these answers over these sites. AnsweredError as `require_allowed`."""
        with opened(self._state) as file:
            _require_same(file, asked, survivors)
            _require_hidden(file, asked, survivors)
            names = _digest(survivors)
            file.executemany("INSERT OR IGNORE INTO answered VALUES (?, ?)", [(it, names) for it in asked.questions])
            for segment, new in asked.sets(survivors).items():
                file.execute(
                    "INSERT INTO sets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET colluding = max(colluding, ?)",
                    (segment, _text(new.sites), new.colluding, new.colluding),
                )
            file.executemany("DELETE FROM waiting WHERE site = ?", [(name,) for name in asked.said])
            file.executemany("INSERT INTO waiting VALUES (?)", [(name,) for name, waits in asked.said.items() if waits])

    def allow(self, sites: Collection[str]) -> None:
        """A person allows sums over just these sites, whatever they show beside the sums before."""
        with opened(self._state) as file:
            file.execute("INSERT OR IGNORE INTO allowed VALUES (?)", (_text(sites),))

    def shown_by(self, sites: Collection[str]) -> list[str]:
        """Return, in words, whom a sum over these sites shows beside the sums before."""
        found = list[str]()
        before = self.kept().get(SHARED, ())
        for atom in atoms([*(item.sites for item in before), sites]):
            if len(atom) <= max((item.colluding for item in before), default=1) + 1:
                who = f"{', '.join(sorted(atom))} together" if len(atom) > 1 else f"{next(iter(atom))} alone"
                found.append(f"Whoever has the sums before can compute from such a sum what {who} added.")
        return found or ["The sums before and such a sum show nobody."]

    def kept(self) -> Mapping[str, tuple[KeptSet, ...]]:
        """Return the sets of sites that anything was opened over, by segment."""
        with opened(self._state) as file:
            segments = [row[0] for row in file.execute("SELECT DISTINCT segment FROM sets ORDER BY segment")]
            return {segment: tuple(_kept(file, segment)) for segment in segments}


def _raise_to(file: Connection, column: str, run: str, number: int, refusal: str) -> None:
    key = hashlib.sha256(run.encode()).hexdigest()
    row = file.execute(f"SELECT {column} FROM runs WHERE run = ?", (key,)).fetchone()  # noqa: S608  # a word of ours
    if row is not None and number <= row[0]:
        raise ProtocolOrderError(refusal)
    file.execute(
        f"INSERT INTO runs (run, {column}) VALUES (?, ?) ON CONFLICT DO UPDATE SET {column} = ?",  # noqa: S608
        (key, number, number),
    )


def _require_same(file: Connection, asked: Asked, survivors: Collection[str]) -> None:
    names = _digest(survivors)
    for question in asked.questions:
        row = file.execute("SELECT sites FROM answered WHERE question = ?", (question,)).fetchone()
        if row is not None and row[0] != names:
            raise AnsweredError(
                "This was summed before over other sites, and the difference of the two sums would show a site. "
                "Only the same sites can repeat it; a private study pays for a new answer instead."
            )


def _require_hidden(file: Connection, asked: Asked, survivors: Collection[str]) -> None:
    """By segment: the partition that these sites and all the sets before make has no small atom."""
    allowed = file.execute("SELECT 1 FROM allowed WHERE sites = ?", (_text(survivors),)).fetchone()
    if allowed or not _anybody_waits(file, asked):
        return
    for segment, new in asked.sets(survivors).items():
        if not is_allowed(list(_kept(file, segment)), new):
            raise AnsweredError(
                f"A sum of {segment!r} over these {len(new.sites)} sites would show, beside the sums over other sites "
                "before, what a few sites added. It is given over the same sites as before. If a hospital has newly "
                "come, a person may allow the new set of sites: wardround site allow-set."
            )


def _anybody_waits(file: Connection, asked: Asked) -> bool:
    """This site, a member of the sum, or a site of an earlier sum that is no member of this one: by what it signed
    last. Who is left out of a sum cannot refuse it.
    """
    if asked.waits or any(asked.said.values()):
        return True
    return any(name not in asked.said for (name,) in file.execute("SELECT site FROM waiting"))


def _kept(file: Connection, segment: str) -> Iterator[KeptSet]:
    for sites, colluding in file.execute("SELECT sites, colluding FROM sets WHERE segment = ?", (segment,)):
        yield KeptSet(frozenset(json.loads(sites)), colluding)


def _text(sites: Collection[str]) -> str:
    return json.dumps(sorted(sites))


def _digest(sites: Collection[str]) -> str:
    return hashlib.sha256(_text(sites).encode()).hexdigest()
