"""List lines: the lines of a list of opt-outs, of which none is lost because it, or its neighbour, is written oddly.

A quote that stays open, text behind a quote, a comma in a remark: people write lists so. Such a line is `odd`: each of
its cells may be the patient's number, a person looks at it, and the line after it is read as if nothing were. So no row
goes over several lines, whatever quotes say: of a remark that does, every line is one of the list, its ends odd ones.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError

_SEPARATORS = re.compile(r"[,;|\t]")
_DAMAGED = "\ufffd"  # stands for what could not be decoded


@dataclass(frozen=True, repr=False)
class Line:
    """One line that is not empty: its number in the file, and what stands in the patients' column.

    odd: that this is that column is not certain; `others` are then all the cells that can be read. Else they are the
        parts between separators in `text`, where there are any: the number, and remarks or further patients
    beside: what stands in the other columns
    """

    number: int
    text: str
    odd: bool = False
    others: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        return self.text, *self.others

    @property
    def own(self) -> tuple[str, ...]:
        """The cells that may be the patient's number: one, the first, but for odd lines."""
        return self.texts if self.odd else self.others[:1] or (self.text,)


def lines_of(path: Path, text: str, patient: str) -> list[Line]:
    """Return the lines below the first one, which must name the column `patient`. DataError where it does not."""
    lines = text.splitlines(keepends=True)
    separator = max(",;\t", key=next(iter(lines), "").count)
    header, start = _header(path, lines, separator)
    if patient not in header:  # without the heading, the first patient would be taken for one
        raise DataError(
            f"{path}: its first line must be {patient!r} (the key `patient` in site.yaml), and each line after it the "
            "number of one patient who opted out."
        )
    place = header.index(patient)
    found = (_line(lines[at].strip("\r\n"), at + 1, separator, place, len(header)) for at in range(start, len(lines)))
    return [line for line in found if any(line.texts) or line.beside]


def _header(path: Path, lines: Sequence[str], separator: str) -> tuple[list[str], int]:
    """The names of the columns, and how many lines are behind them."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        row = next((row for row in reader if row), None)
    except csv.Error:
        raise DataError(f"{path}: line 1: quotes do not close. Double a quote inside a cell.") from None
    if row is None:
        raise DataError(f"{path}: is empty. Its first line must name the column of the patients' numbers.")
    return [cell.replace("\u200b", "").strip() for cell in row], reader.line_num


def _line(text: str, number: int, separator: str, place: int, width: int) -> Line:
    """One line by itself. Where its quotes do not close in it, it is odd, and so is one in which a sign is damaged."""
    try:
        simple = text.split(separator) if text else []
        row = next(csv.reader([text], delimiter=separator, strict=True), []) if '"' in text else simple
    except csv.Error:
        row = []
    else:
        if text.count('"') % 2 == 0 and _DAMAGED not in text and (width == 1 or len(row) in (0, width)):
            if width == 1:
                return Line(number, separator.join(row).strip(), others=parts(text))
            cells = [cell.strip() for cell in row] or [""] * width
            beside = tuple(cell for at, cell in enumerate(cells) if cell and at != place)
            return Line(number, cells[place], others=parts(cells[place]), beside=beside)
    plain = [_bare(cell) for cell in (_SEPARATORS.split(text) if width == 1 else text.split(separator))]
    cells = [cell.strip() for cell in row] + plain
    whole = _bare(text) if width == 1 else row[place].strip() if place < len(row) else ""
    return _odd(number, whole or (plain[place] if place < len(plain) else ""), [*cells, _bare(text)])


def parts(cell: str) -> tuple[str, ...]:
    """Return what stands between separators in a cell; nothing where it has none."""
    several = _SEPARATORS.split(cell)
    return tuple(filter(None, map(_bare, several))) if len(several) > 1 else ()


def _bare(cell: str) -> str:
    """Without the quotes around it."""
    return cell.strip().strip('"').strip()


def _odd(number: int, text: str, cells: Sequence[str]) -> Line:
    """Return an odd line. Each cell, and the whole, is in it also without the damaged signs at the ends."""
    several = (form for cell in (text, *cells) for form in (cell, cell.strip(_DAMAGED).strip()))
    return Line(number, text, True, tuple(dict.fromkeys(form for form in several if form and form != text)))
