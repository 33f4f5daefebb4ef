"""List lines: the lines of a list of opt-outs, of which none is lost because it, or its neighbour, is written oddly.

A quote that stays open, text behind a quote, a comma in a remark: people write lists so. Such a line is `odd`: each of
its cells may be the patient's number, a person looks at it, and the line after it is read as if nothing were.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError


@dataclass(frozen=True, repr=False)
class Line:
    """One line that is not empty: its number in the file, and what stands in the patients' column.

    odd: that this is that column is not certain; `others` are then all the cells that can be read
    """

    number: int
    text: str
    odd: bool = False
    others: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        return self.text, *self.others


def lines_of(path: Path, text: str, patient: str) -> list[Line]:
    """Return the lines below the first one, which must name the column `patient`. DataError where it does not."""
    separator = max(",;\t", key=text.split("\n", 1)[0].count)
    lines = list(io.StringIO(text, newline=""))
    header, start = _header(path, lines, separator)
    if patient not in header:  # without the heading, the first patient would be taken for one
        raise DataError(
            f"{path}: its first line must be {patient!r} (the key `patient` in site.yaml), and each line after it the "
            "number of one patient who opted out."
        )
    place = header.index(patient)
    found = (
        _as_written(lines[number - 1], number, separator, place, len(header))
        if row is None
        else _of_row(row, number, separator, place, len(header))
        for number, row in _rows(lines, start, separator, place, len(header))
    )
    return [line for line in found if any(line.texts)]


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


def _rows(
    lines: Sequence[str], start: int, separator: str, place: int, width: int
) -> Iterator[tuple[int, list[str] | None]]:
    """Each row with the number of its last line; None for a line whose row cannot be read, and the next is read anew.

    So is a row of several lines that has another width, or a patient's number of several lines: a quote that was never
    closed has swallowed its neighbours.
    """
    while start < len(lines):
        reader = csv.reader((lines[at] for at in range(start, len(lines))), delimiter=separator, strict=True)
        begun, first = start, start
        try:
            for row in reader:
                end = first + reader.line_num
                if end - begun > 1 and (len(row) != width or len(row[place].splitlines()) > 1):
                    break
                if row:
                    yield end, row
                begun = end
            else:
                return
        except csv.Error:
            pass
        yield begun + 1, None
        start = begun + 1


def _of_row(row: Sequence[str], number: int, separator: str, place: int, width: int) -> Line:
    """In a file of one column a line is one cell."""
    if width == 1:
        return Line(number, separator.join(row).strip())
    cells = [cell.strip() for cell in row]
    if len(cells) == width:
        return Line(number, cells[place])
    return _odd(number, cells[place] if place < len(cells) else "", cells)


def _as_written(line: str, number: int, separator: str, place: int, width: int) -> Line:
    cells = [cell.strip().strip('"').strip() for cell in line.split(separator)]
    if width == 1:
        return _odd(number, line.strip().strip('"').strip(), cells)
    return _odd(number, cells[place] if place < len(cells) else "", cells)


def _odd(number: int, text: str, cells: Sequence[str]) -> Line:
    return Line(number, text, True, tuple(dict.fromkeys(cell for cell in cells if cell and cell != text)))
