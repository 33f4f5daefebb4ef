"""CSV files as hospitals export them: cells as text, and errors that name files, columns and counts, never a cell.

The reader is Python's own: pandas guesses types and indices, and its exceptions quote what they could not read.

A row that breaks a rule is an error that names the file and counts, so that a hospital mends it. Not so for a study
with differential privacy (`gaps`): there a row that one patient has must not decide whether a site answers, so it is
passed over, and counted for this site's eyes. A file that is no table for anybody is an error there too.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.data.swallowed import Numbers
from common.errors import DataError, SiteFileError

csv.field_size_limit(2**24)  # a long note in one cell


@dataclass(frozen=True, repr=False)
class Table:
    """`key` is where site.yaml names the file; `rows` are as wide as `header`, cells stripped of outer blanks.

    gaps: what one row breaks is a gap, counted in `counts` with the words of `client.data.losses`, and no error
    """

    path: Path
    key: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    excluded: frozenset[str] = frozenset()
    gaps: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} rows, {len(self.header)} columns)"

    def counted(self, place: str) -> dict[str, int]:
        """`counts` under a place of site.yaml, in the words of `client.data.losses`."""
        return {f"{place}.{what}" if ": " in what else f"{place}: {what}": n for what, n in self.counts.items() if n}

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


def read_table(
    path: Path,
    key: str,
    excluded: frozenset[str] = frozenset(),
    *,
    gaps: bool = False,
    numbers: Numbers | None = None,
) -> Table:
    """Read a CSV file (comma, semicolon or tab; UTF-8), whose first line names the columns.

    The table passes over the patients in `excluded`. `gaps`: as in `Table`; `numbers`: what tells that a row has
    swallowed another patient's, which is an error where there are no gaps, if it knows that patient.
    """
    counts = Counter[str]()
    if numbers and not gaps:
        numbers = replace(numbers, known=numbers.known | excluded) if numbers.known else None
    lines = _records(path, _text(path, key, gaps), counts if gaps else None, numbers)
    if not lines:
        raise DataError(f"{path}: is empty. site.yaml, key {key}, must name a CSV file with a line of column names.")
    header, rows = lines[0], [row for row in lines[1:] if any(row)]
    if len(set(header)) != len(header):
        raise DataError(f"{path}: two columns have the same name. Give each column its own.")
    ragged = sum(len(row) != len(header) for row in rows)
    if ragged and not gaps:
        raise DataError(
            f"{path}: {ragged} rows have more or fewer cells than the first line's {len(header)}. "
            "Put cells that contain the separator in double quotes."
        )
    counts["rows with more or fewer cells than the first line"] += ragged
    counts["rows"] += len(rows) + counts["rows whose quotes do not close"] + counts["rows that are not UTF-8"]
    return Table(path, key, header, tuple(row for row in rows if len(row) == len(header)), excluded, gaps, counts)


def _text(path: Path, key: str, gaps: bool) -> str:
    """The file's text; with `gaps` what is not UTF-8 stands in it as U+FFFD, for its row to be passed over."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace" if gaps else "strict")
    except UnicodeDecodeError:
        problem = "is not UTF-8 text. Export it as UTF-8."
    except OSError as error:
        raise SiteFileError(
            f"{path}: cannot be read ({error.strerror}). Check site.yaml, key {key}, and the file's permissions."
        ) from None
    raise DataError(f"{path}: {problem}")


def _records(path: Path, text: str, counts: Counter[str] | None, numbers: Numbers | None) -> list[tuple[str, ...]]:
    """The rows, the first line's among them. Those that cannot be read are an error, or counted where there are
    `counts`.
    """
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    lines = list(io.StringIO(text, newline=""))
    found, start = list[tuple[str, ...]](), 0
    while start < len(lines):
        header = found[0] if found else ()
        rows, broken = _until_broken(lines, start, separator, header, numbers, resumed=counts is not None)
        found += rows
        if broken is None:
            break
        if counts is None or not found:
            raise DataError(
                f"{path}: line {broken + 1}: quotes do not close as CSV wants it, or one that opens here closes in the "
                "row of another patient. Double each quote inside a quoted cell, and close each that opens one."
            )
        counts["rows whose quotes do not close"] += 1
        start = broken + 1  # the line after the one that the broken row begins in: it costs no row but its own
    return found if counts is None else _of_utf8(path, found, counts)


def _until_broken(
    lines: Sequence[str],
    start: int,
    separator: str,
    header: tuple[str, ...],
    numbers: Numbers | None,
    *,
    resumed: bool,
) -> tuple[list[tuple[str, ...]], int | None]:
    """Rows from this line on, and the line of the first row that cannot be read; None if all can.

    header: the first row; empty: it is still to come. A row over several lines in which another patient's row begins is
    broken: a quote that was never closed has swallowed its neighbours. resumed: reading goes on behind a broken row, so
    the line is the one that the row begins in, and one over several lines that has another width is broken too. Else
    the line is the one where the reader gave up.
    """
    reader = csv.reader((lines[place] for place in range(start, len(lines))), delimiter=separator, strict=True)
    rows, begun = list[tuple[str, ...]](), start
    try:
        for row in reader:
            end = start + reader.line_num
            if header and end - begun > 1:
                whole, torn = lines[begun:end], resumed and len(row) != len(header)
                if torn or (numbers and numbers.swallowed(header, row, whole, separator)):
                    return rows, begun
            begun = end
            if row:
                rows.append(tuple(cell.strip() for cell in row))
                header = header or rows[-1]
    except csv.Error:
        return rows, begun if resumed else start + reader.line_num - 1
    return rows, None


def _of_utf8(path: Path, rows: list[tuple[str, ...]], counts: Counter[str]) -> list[tuple[str, ...]]:
    whole = [row for row in rows if not any("\ufffd" in cell for cell in row)]
    if rows and (not whole or whole[0] is not rows[0]):
        raise DataError(f"{path}: its first line is not UTF-8 text. Export the file as UTF-8.")
    counts["rows that are not UTF-8"] += len(rows) - len(whole)
    return whole


def one_row(table: Table, rows: Mapping[str, Sequence[int]], duplicates: str, key: str) -> dict[str, int]:
    """Patient -> its only row, or the first or last of several, as `duplicates` says.

    Where `duplicates` wants none, and the table has `gaps`, a patient with several rows is left out, and counted.
    """
    repeated = sum(len(numbers) > 1 for numbers in rows.values())
    if duplicates == "error" and table.gaps:
        table.counts["patients"] += len(rows)
        table.counts["patients with more than one row"] += repeated
        rows = {patient: numbers for patient, numbers in rows.items() if len(numbers) == 1}
    elif duplicates == "error" and repeated:
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
