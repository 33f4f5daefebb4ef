"""Swallowed: whether a row of a table over several lines holds a neighbour's row, because a quote of it never closed.

CSV cannot tell: the next quote that opens a neighbour's cell, or stands inside of one (`a wound of 5"`), closes it, and
both are one row. What tells is the line: a note goes on in sentences, and a neighbour's row begins with cells, of which
one is a patient's number. Where the number stands behind the open cell, the merged row has the neighbour's, and its own
first line another. A note that itself has such a line, of another patient, is taken for a broken row too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_NUMBER = re.compile(r"(?=.*[0-9])\S{1,64}")  # a patient's number where none are known; LO of DICOM has 64 characters


@dataclass(frozen=True)
class Numbers:
    """The column of the patients' numbers. known: those of the target's file; none: any word that has a figure."""

    column: str
    known: frozenset[str] = field(default=frozenset(), repr=False)

    def swallowed(self, header: Sequence[str], row: Sequence[str], lines: Sequence[str], separator: str) -> bool:
        """Whether one of `lines`, all of a row, begins the row of another patient than the row as it was read."""
        if self.column not in header or len(header) < 2:
            return False
        place, width = header.index(self.column), len(header)
        own = row[place].strip() if place < len(row) else ""
        first, *others = (line.rstrip("\r\n") for line in lines)
        number = _behind_open(first, separator, width, place)
        if number != own and (self._is_one(number) or _pattern(number) == _pattern(own) != ""):
            return True
        rows = (_cells(line, separator, width) for line in others)
        return any(place < len(cells) and cells[place] != own and self._is_one(cells[place]) for cells in rows)

    def _is_one(self, cell: str) -> bool:
        return cell in self.known if self.known else _NUMBER.fullmatch(cell) is not None


_INSIDE = '[^"]*(?:""[^"]*)*'


def _cell(separator: str) -> str:
    """What matches a cell: in quotes, or without any around it, and then also with some behind its first sign."""
    return rf'(?:"{_INSIDE}"|[^"{separator}][^{separator}]*|)'


def _behind_open(line: str, separator: str, width: int, place: int) -> str:
    """The patient's number in a line of which a cell before it opens and does not close: counted from the end, for
    the open cell may have any number of separators. "" where the line is no such row.
    """
    plain = [cell.strip() for cell in line.split(separator)]
    opened = place and re.fullmatch(rf'(?:{_cell(separator)}{separator}){{0,{place - 1}}}"{_INSIDE}', line)
    return plain[place - width].strip('"') if opened and len(plain) >= width else ""


def _pattern(number: str) -> str:
    """`aa-9999` of SC-0704: the numbers of one hospital are of one pattern, also of patients whom no target names."""
    return "".join("9" if sign.isdigit() else "a" if sign.isalpha() else sign for sign in number)


def _cells(line: str, separator: str, width: int) -> list[str]:
    """The cells of a line that is a whole row of this width, or begins one whose last cell goes on; none where it is
    neither.
    """
    cell = _cell(separator)
    whole = re.fullmatch(rf"{cell}(?:{separator}{cell}){{{width - 1}}}", line)
    if whole is None and not re.fullmatch(rf'(?:{cell}{separator}){{0,{width - 1}}}"{_INSIDE}', line):
        return []
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    return cells if whole else cells[:-1]  # the last goes on in the next line
