"""Named: every patient of this hospital whom a line of a list of opt-outs may mean, whatever stands around the number.

People write two patients in a line, brackets around a number, its place in the list before it, or the number in the
next column. So all forms that a line may have are looked up, and all patients whom one of them finds are meant: one
who is found brings nobody back whom another form finds. The time grows with the list and the patients added together.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from client.data.list_lines import Line
from client.data.near import EXPONENT, LABEL, LONGEST_NUMBER, key_of, plain, readings
from client.data.runs import Runs, spans

_SPREADSHEET_DIGITS = 5  # a spreadsheet shows a long number by at least so many: fewer would be half of all patients
_NOBODY = frozenset[str]()


@dataclass(frozen=True, repr=False)
class Meant:
    """Whom a line means. own: by what its cell of the patients' column is or begins with; inside: by any other number
    in it. In sets that lines share, for one line may mean thousands.
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

    alike: by `key`; numbers: those keys that are nothing else, in order; shapes: of what kind the keys are
    (`Runs.shapes`); longest: of how many runs they are in a list, at most
    """

    everybody: frozenset[str]
    alike: Mapping[str, frozenset[str]]
    numbers: Sequence[int]
    shapes: frozenset[str]
    longest: int
    _shown: dict[str, frozenset[str]] = field(default_factory=dict)
    _beside: dict[str, dict[frozenset[str], None]] = field(default_factory=dict)

    def meant(self, line: Line) -> Meant:
        """Return everybody whom any form of the line finds."""
        own, inside = dict[frozenset[str], None](), dict[frozenset[str], None]()
        for runs in (Runs(reading) for cell in dict.fromkeys(line.texts) for reading in readings(cell)):
            own |= self._found(self._beginnings(runs), runs)
            inside |= self._found(self._anywhere(runs, 1))
        for cell in line.beside:
            inside |= self._in_other_column(cell)
        return Meant(tuple(own), tuple(inside))

    def _in_other_column(self, cell: str) -> dict[frozenset[str], None]:
        if cell not in self._beside:  # days, wards and remarks stand in many lines
            found = dict[frozenset[str], None]()
            for runs in map(Runs, readings(cell)):
                found |= self._found(self._anywhere(runs, 0), runs)
            self._beside[cell] = found
        return self._beside[cell]

    def written(self, text: str) -> Iterator[str]:
        """What a cell may call a patient, as it stands there."""
        if text.isascii() and text.isalnum():
            yield text
            return
        places = spans(text)
        for at, (start, _) in enumerate(places):
            yield from (text[start:end] for _, end in places[at : at + self.longest] if end - start <= LONGEST_NUMBER)

    def _found(self, keys: Iterable[str], numbers: Runs | None = None) -> dict[frozenset[str], None]:
        """Whom these keys find, and the numbers as a spreadsheet shows them."""
        found = [several for one in keys if (several := self.alike.get(one))]
        if numbers is not None:
            found += [several for one in numbers.grouped() if (several := self.alike.get(one))]
            found += [several for one in numbers.powers() if (several := self._shown_short(one))]
        return dict.fromkeys(found)

    def _beginnings(self, runs: Runs) -> Iterator[str]:
        """The keys of the text, and of what it begins with, with a label before it and without."""
        if not runs or len(runs.text) > LONGEST_NUMBER:
            yield key_of(runs.text)
        if runs:
            yield from self._from(runs, 0, len(runs))
        if not runs.text[:1].isdigit() and (label := LABEL.match(runs.text)) and (bare := label.end()):
            yield from self._from(rest := Runs(runs.text[bare:]), 0, len(rest))

    def _anywhere(self, runs: Runs, first: int) -> Iterator[str]:
        """The keys of every run from the first on, and of as many together as a patient's number has."""
        for at in range(first, len(runs)):
            yield from self._from(runs, at, min(self.longest, len(runs) - at))
        for run in runs.mixed()[first:]:
            yield key_of(LABEL.sub("", run))

    def _from(self, runs: Runs, at: int, most: int) -> Iterator[str]:
        return (runs.key(at, number) for number, shape in runs.shapes(at, most) if shape in self.shapes)

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
    shapes, longest = set[str](), 1
    for patient in everybody:
        runs = Runs(plain(patient))
        if len(runs) != 1 or runs.spans[0][1] - runs.spans[0][0] < len(runs.text):
            alike[key_of(runs.text)].add(patient)
        if runs:  # `#10000` or `10000-` is 10000 to whoever writes a list
            alike[runs.key(0, len(runs))].add(patient)
            shapes.update(shape for number, shape in runs.shapes(0, len(runs)) if number == len(runs))
            longest = max(longest, len(runs))
    numbers = sorted(int(one) for one in alike if one.isascii() and one.isdigit() and len(one) <= LONGEST_NUMBER)
    shared = {one: frozenset(several) for one, several in alike.items()}
    return Here(everybody, shared, numbers, frozenset(shapes), longest + 1)
