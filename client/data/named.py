"""Named: every patient of this hospital whom a line of a list of opt-outs may mean, whatever stands around the number.

People write two patients in a line, brackets around a number, its place in the list before it, or the number in the
next column. So all forms that a line may have are looked up, and all patients whom one of them finds are meant: one
who is found brings nobody back whom another form finds. Nor does it hang on who else is here: with differential privacy
one patient more must not take another one out. The time grows with the list and the patients added together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from client.data.list_lines import Line, parts
from client.data.made_days import before_a_spreadsheet, beginnings
from client.data.near import EXPONENT, LONGEST_NUMBER, forms, key_of, plain, readings
from client.data.runs import EXACT_FIGURES, Runs, bare, damaged

_SPREADSHEET_DIGITS = 5  # a spreadsheet shows a long number by at least so many: fewer would be half of all patients
_MOST_RUNS = 24  # of a part that may be a number: the time is bounded, whoever is here
_BEGUN = 8  # signs by whose absence a number ends the search: more would take much memory
_NOBODY = frozenset[str]()


@dataclass(frozen=True, repr=False)
class Meant:
    """Whom a line means. own: by what its first cell is or begins with, or by the whole line; inside: by any other
    number in it. In sets that lines share, for one line may mean thousands.
    """

    own: tuple[frozenset[str], ...] = ()
    inside: tuple[frozenset[str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.own or self.inside)

    def is_near(self, texts: Sequence[str]) -> bool:
        """Whether it takes several patients, or one by a number inside alone or who is not written as in `texts`."""
        if len(self.own) > 1 or not set(self.inside) <= set(self.own):
            return True
        return any(len(several) > 1 or not several.issubset(texts) for several in self.own)


@dataclass(frozen=True, repr=False)
class Here:
    """The patients of this hospital, to be found by what a line may call them.

    alike: by `key`, each patient by keys that hang on nobody else; numbers: those keys that are nothing else, in order;
    bare, begun: those keys (`client.data.runs.bare`), and with what they begin. These two spare time alone
    """

    everybody: frozenset[str]
    alike: Mapping[str, frozenset[str]]
    numbers: Sequence[int]
    bare: frozenset[str]
    begun: frozenset[str]
    _shown: dict[str, frozenset[str]] = field(default_factory=dict)
    _beside: dict[str, dict[frozenset[str], None]] = field(default_factory=dict)

    def meant(self, line: Line) -> Meant:
        """Return everybody whom any form of the line finds."""
        own, inside = dict[frozenset[str], None](), dict[frozenset[str], None]()
        for cell in dict.fromkeys(line.own):
            for runs in map(Runs, readings(cell)):
                own |= self._found(self._beginnings(runs)) | self._shortened(runs)
                inside |= self._found(self._anywhere(runs, 1))
            own |= self._days(beginnings(plain(cell)))
        if line.text not in line.own:  # `10000;opted out`, and `10,001`
            for runs in map(Runs, readings(line.text)):
                own |= self._found(self._whole(runs))
            inside |= self._in_any_place(line.text)
        for cell in (*(() if line.odd else line.others[1:]), *line.beside):
            inside |= self._in_other_cell(cell)
        return Meant(tuple(own), tuple(inside))

    def _in_other_cell(self, cell: str) -> dict[frozenset[str], None]:
        if cell not in self._beside:  # days, wards and remarks stand in many lines
            found = self._in_any_place(cell)
            self._beside[cell] = found | self._days(map(plain, (cell, *parts(cell))))
        return self._beside[cell]

    def _in_any_place(self, text: str) -> dict[frozenset[str], None]:
        found = dict[frozenset[str], None]()
        for runs in map(Runs, readings(text)):
            found |= self._found(self._anywhere(runs, 0)) | self._shortened(runs)
        return found

    def _days(self, texts: Iterable[str]) -> dict[frozenset[str], None]:
        return self._found(chain.from_iterable(map(before_a_spreadsheet, texts)))

    def _found(self, keys: Iterable[str]) -> dict[frozenset[str], None]:
        return {several: None for one in keys if (several := self.alike.get(one))}

    def _shortened(self, runs: Runs) -> dict[frozenset[str], None]:
        return {several: None for one in runs.powers() if (several := self._shown_short(one))}

    def _beginnings(self, runs: Runs) -> Iterator[str]:
        """The keys of the text, and of what it begins with, with a label before it and without."""
        yield from self._whole(runs)
        yield from map(key_of, runs.powers()[:1])
        if runs:
            yield from self._from(runs, 0)
            yield from self._from(runs, place) if (place := runs.behind_label()) else ()

    def _whole(self, runs: Runs) -> Iterator[str]:
        if not runs or len(runs.text) > LONGEST_NUMBER:
            yield key_of(runs.text)
        else:
            yield from runs.keys(0, len(runs))

    def _anywhere(self, runs: Runs, first: int) -> Iterator[str]:
        """The keys of every part from one of the runs on, from the first on."""
        for at in range(first, len(runs)):
            yield from self._from(runs, at)

    def _from(self, runs: Runs, at: int) -> Iterator[str]:
        """The keys of the parts from a run on that may be a number here. Whether one is tried must hang on the patients
        whom it finds, and on no others: so each has the letters and figures by which it was come upon.
        """
        if power := runs.power(at):
            yield key_of(power)
        letters, start = "", runs.spans[at][0]
        for last in range(at, min(at + _MOST_RUNS, len(runs))):
            letters += runs.bare[last]
            if runs.spans[last][1] - start > LONGEST_NUMBER or letters[:_BEGUN] not in self.begun:
                return
            if letters in self.bare:
                yield from (one for one in runs.keys(at, last - at + 1) if bare(one) == letters)

    def _shown_short(self, text: str) -> frozenset[str]:
        """The patients whose numbers a spreadsheet shows as this text: 123456789012 as 1.23457E+11."""
        power = EXPONENT.fullmatch(text)
        if power is None or len(text) > LONGEST_NUMBER or len(power[1] + (power[2] or "")) < _SPREADSHEET_DIGITS:
            return _NOBODY
        cut = int(power[3]) - len(power[2] or "")  # figures that are not shown: rounded, or cut off
        if cut <= 0:
            return _NOBODY
        if text not in self._shown:
            value, half = int(power[1] + (power[2] or "")) * 10**cut, 10**cut
            between = self.numbers[bisect_right(self.numbers, value - half) : bisect_left(self.numbers, value + half)]
            self._shown[text] = _NOBODY.union(*(self.alike[str(number)] for number in between))
        return self._shown[text]


def here(patients: Iterable[str]) -> Here:
    """Return the index of these patients; empty numbers are left out."""
    everybody, alike = frozenset(filter(None, patients)), defaultdict[str, set[str]](set)
    for patient in everybody:
        for one in _keys_of(patient):
            alike[one].add(patient)
    numbers = sorted(int(one) for one in alike if one.isascii() and one.isdigit() and len(one) <= LONGEST_NUMBER)
    letters = {bare(one) for one in alike if len(one) <= LONGEST_NUMBER}
    begun = {one[:length] for one in letters for length in range(min(len(one), _BEGUN) + 1)}
    shared = {one: frozenset(several) for one, several in alike.items()}
    return Here(everybody, shared, numbers, frozenset(letters), frozenset(begun))


def _keys_of(patient: str) -> Iterator[str]:
    """By what a patient is found, whoever else is here. `#10000` or `10000-` is 10000 to whoever writes a list."""
    for runs in map(Runs, forms(patient)):
        yield key_of(runs.text)
        for one in filter(None, runs.keys(0, len(runs))) if runs else ():
            yield one
            if EXACT_FIGURES < len(one) <= LONGEST_NUMBER and one.isascii() and one.isdigit():
                yield from map(damaged, _inexact(one))


def _inexact(digits: str) -> Iterator[str]:
    """A long number cut off or rounded behind the figures that a spreadsheet keeps, or in double precision."""
    number, unit = int(digits), 10 ** (len(digits) - EXACT_FIGURES)
    yield from map(str, (number // unit * unit, (number + unit // 2) // unit * unit, int(float(number))))
