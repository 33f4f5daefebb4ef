"""Records: a row of the hospital's table -> the study's columns, gaps as such."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from client.data.case import RecordValues
from client.data.tables import Table, map_words, numbers, one_row
from client.site import TableSource
from common.errors import DataError
from common.modalities.record import RecordModality


def read_records(
    table: Table, source: TableSource, modality: RecordModality, patient: str, key: str
) -> dict[str, RecordValues]:
    """Patient -> values. `key` is the source's place in site.yaml, `patient` the column with the patient.

    A cell that is neither a number nor a gap, or a word that is no category of the study, is an error: left out
    silently it would change what the study means. In a table with `gaps` it is a gap that is counted.
    """
    chosen = one_row(table, table.by_patient(patient, f"{key}.patient"), source.duplicates, key)
    rows = list(chosen.values())
    numeric = numeric_columns(table, source, list(modality.numeric), rows, key)
    categorical = _categories(table, source, modality, rows, key)
    return {name: RecordValues(numeric[row], categorical[row]) for row, name in enumerate(chosen)}


def numeric_columns(
    table: Table, source: TableSource, names: Sequence[str], rows: Sequence[int], key: str
) -> NDArray[np.float64]:
    """(rows, names) values of the study's columns, NaN for gaps."""
    values, mistakes = np.full((len(rows), len(names)), np.nan), []
    for place, name in enumerate(names):
        cells = _cells(table, source, name, rows, key)
        values[:, place], bad = numbers(cells, source.missing)
        _count(table, "cells that are no numbers", bad, cells, name)
        if bad:
            mistakes.append(f"{source.columns.get(name, name)!r} ({bad} of {len(rows)})")
    if mistakes and not table.gaps:
        raise DataError(
            f"{table.path}: cells that are not numbers, in column {', '.join(mistakes)}. Write numbers with a decimal "
            f"point, list the file's words for gaps under {key}.missing in site.yaml, or map them under {key}.values."
        )
    return values


def _categories(
    table: Table, source: TableSource, modality: RecordModality, rows: Sequence[int], key: str
) -> NDArray[np.int64]:
    found, mistakes = np.full((len(rows), len(modality.categorical)), -1, dtype=np.int64), []
    for place, (name, categories) in enumerate(modality.categorical.items()):
        index = {category: number for number, category in enumerate(categories)} | {"": -1}
        cells = _cells(table, source, name, rows, key)
        unknown = sum(cell not in index for cell in cells)
        _count(table, "cells that are no category of the study", unknown, cells, name)
        if unknown:
            mistakes.append(f"{source.columns.get(name, name)!r} ({unknown} of {len(rows)}; the study's: {categories})")
        found[:, place] = [index.get(cell, -1) for cell in cells]
    if mistakes and not table.gaps:
        raise DataError(
            f"{table.path}: words that are no category of the study, in column {', '.join(mistakes)}. Map each under "
            f"{key}.values in site.yaml, or list it under {key}.missing."
        )
    return found


def _count(table: Table, what: str, bad: int, cells: Sequence[str], name: str) -> None:
    """Count the cells of the study's column `name` that cannot be read, beside all that are no gap."""
    if bad:
        table.counts[f"{name}: cells"] += sum(cell != "" for cell in cells)
        table.counts[f"{name}: {what}"] += bad


def _cells(table: Table, source: TableSource, name: str, rows: Sequence[int], key: str) -> list[str]:
    """Cells of a study's column, by its name in the file, in the study's words."""
    column = table.column(source.columns.get(name, name), f"{key}.columns.{name}")
    return map_words([column[row] for row in rows], source.values.get(name, {}), source.missing)
