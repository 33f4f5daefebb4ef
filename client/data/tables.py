"""CSV files as hospitals export them: cells as text, and errors that name files, columns and counts, never a cell.

The reader is Python's own: pandas guesses types and indices, and its exceptions quote what they could not read.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError, SiteFileError

csv.field_size_limit(2**24)  # a long note in one cell


@dataclass(frozen=True, repr=False)
class Table:
    """`key` is where site.yaml names the file; `rows` are as wide as `header`, cells stripped of outer blanks."""

    path: Path
    key: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    excluded: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} rows, {len(self.header)} columns)"

    def column(self, name: str, key: str) -> tuple[str, ...]:
        """All cells of a column; `key` is where site.yaml could name another."""
        if name not in self.header:
            raise DataError(self._missing(name, key))
        place = self.header.index(name)
        return tuple(row[place] for row in self.rows)

    def by_patient(self, column: str, key: str) -> dict[str, list[int]]:
        """Patient -> rows, in the file's order. Rows without a patient, and of those excluded, are left out."""
        found: dict[str, list[int]] = {}
        for number, patient in enumerate(self.column(column, key)):
            if patient and patient not in self.excluded:
                found.setdefault(patient, []).append(number)
        return found

    def _missing(self, name: str, key: str) -> str:
        # Only names close to the one sought are shown: in a file without a header the first line is a patient.
        near = difflib.get_close_matches(name.lower(), {column.lower(): column for column in self.header}, 3, 0.75)
        shown = [column for column in self.header if column.lower() in near]
        hint = f" Close to it: {', '.join(shown)}." if shown else " Does the file begin with a line of column names?"
        return (
            f"{self.path}: has no column {name!r} among its {len(self.header)}.{hint} "
            f"If it is called otherwise there, say so in site.yaml, key {key}."
        )


def read_table(path: Path, key: str, excluded: frozenset[str] = frozenset()) -> Table:
    """Read a CSV file (comma, semicolon or tab; UTF-8), whose first line names the columns.

    The table passes over the patients in `excluded`.
    """
    lines = _records(path, _text(path, key))
    if not lines:
        raise DataError(f"{path}: is empty. site.yaml, key {key}, must name a CSV file with a line of column names.")
    header, rows = lines[0], [row for row in lines[1:] if any(row)]
    if len(set(header)) != len(header):
        raise DataError(f"{path}: two columns have the same name. Give each column its own.")
    ragged = [row for row in rows if len(row) != len(header)]
    if ragged:
        raise DataError(
            f"{path}: {len(ragged)} rows have more or fewer cells than the first line's {len(header)}. "
            "Put cells that contain the separator in double quotes."
        )
    return Table(path, key, header, tuple(rows), excluded)


def _text(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        problem = "is not UTF-8 text. Export it as UTF-8."
    except OSError as error:
        raise SiteFileError(
            f"{path}: cannot be read ({error.strerror}). Check site.yaml, key {key}, and the file's permissions."
        ) from None
    raise DataError(f"{path}: {problem}")


def _records(path: Path, text: str) -> list[tuple[str, ...]]:
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return [tuple(cell.strip() for cell in row) for row in reader if row]
    except csv.Error:
        line = reader.line_num
    raise DataError(
        f"{path}: line {line}: quotes do not close as CSV wants it. Double each quote inside a quoted cell."
    )


def one_row(table: Table, rows: Mapping[str, Sequence[int]], duplicates: str, key: str) -> dict[str, int]:
    """Patient -> its only row, or the first or last of several, as `duplicates` says."""
    repeated = sum(len(numbers) > 1 for numbers in rows.values())
    if duplicates == "error" and repeated:
        raise DataError(
            f"{table.path}: {repeated} patients have more than one row. Clean the file, or set "
            f"{key}.duplicates to first or last in site.yaml."
        )
    return {patient: numbers[-1 if duplicates == "last" else 0] for patient, numbers in rows.items()}


def numbers(cells: Sequence[str], missing: Sequence[str]) -> tuple[NDArray[np.float64], int]:
    """Cells -> values, NaN for gaps; and how many cells are neither a finite number nor a gap."""
    values, bad = np.full(len(cells), np.nan), 0
    gaps = {"", *missing}
    for place, cell in enumerate(cells):
        if cell in gaps:
            continue
        value = _number(cell)
        if math.isfinite(value):
            values[place] = value
        else:
            bad += 1
    return values, bad


def _number(cell: str) -> float:
    try:
        return math.nan if "_" in cell else float(cell)  # Python reads 1_000 as a number, a hospital does not
    except ValueError:
        return math.nan


def map_words(cells: Sequence[str], words: Mapping[str, str], missing: Sequence[str]) -> list[str]:
    """The file's words -> the study's; a gap is the empty text."""
    gaps = set(missing)
    mapped = ("" if cell in gaps else words.get(cell, cell) for cell in cells)
    return ["" if cell in gaps else cell for cell in mapped]
