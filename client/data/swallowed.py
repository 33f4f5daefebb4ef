"""Swallowed: whether a row of a table over several lines holds a neighbour's row, because a quote of it never closed.

CSV cannot tell: the next quote that opens a neighbour's cell closes it, and both are one row. What tells is the line: a
note goes on in sentences, and a neighbour's row begins with cells, of which one is a patient's number. A note that
itself has such a line, of another patient, is taken for a broken row too.
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
        """Whether one of `lines`, all of a row but its first, begins the row of another patient."""
        if self.column not in header or len(header) < 2:
            return False
        place = header.index(self.column)
        own = row[place].strip() if place < len(row) else ""
        rows = (_cells(line.rstrip("\r\n"), separator, len(header)) for line in lines)
        return any(place < len(cells) and cells[place] != own and self._is_one(cells[place]) for cells in rows)

    def _is_one(self, cell: str) -> bool:
        return cell in self.known if self.known else _NUMBER.fullmatch(cell) is not None


def _cells(line: str, separator: str, width: int) -> list[str]:
    """The cells of a line that is a whole row of this width, or begins one whose last cell goes on; none where it is
    neither, as with a quote inside a cell that has none around it.
    """
    inside = '[^"]*(?:""[^"]*)*'
    cell = rf'(?:"{inside}"|[^"{separator}]*)'
    whole = re.fullmatch(rf"{cell}(?:{separator}{cell}){{{width - 1}}}", line)
    if whole is None and not re.fullmatch(rf'(?:{cell}{separator}){{0,{width - 1}}}"{inside}', line):
        return []
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
    return cells if whole else cells[:-1]  # the last goes on in the next line
