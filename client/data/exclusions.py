"""Exclusions: the patients who opted out. Their rows are passed over wherever a table is read by patient."""

from __future__ import annotations

from client.data.tables import Table, read_table
from client.site import SiteFolder
from common.errors import DataError, SiteFileError

_KEY = "exclusions"


def read_exclusions(folder: SiteFolder) -> frozenset[str]:
    """The patients in the file that `exclusions` in site.yaml names; none where the key is not there.

    DataError for a file that cannot be read for certain: nobody's wish is dropped because a file was.
    """
    table = _table(folder)
    return frozenset() if table is None else frozenset(table.by_patient(folder.file.patient, _KEY))


def unmatched(folder: SiteFolder) -> int:
    """How many of the excluded are no patient of the target's file: perhaps a number that lost its zeros."""
    if not folder.excluded:
        return 0
    target = folder.file.target
    table = read_table(folder.path(target.file), "target.file")
    return len(folder.excluded - set(table.column(target.patient or folder.file.patient, "target.patient")))


def _table(folder: SiteFolder) -> Table | None:
    if folder.file.exclusions is None:
        return None
    try:
        table = read_table(folder.path(folder.file.exclusions), _KEY)
    except SiteFileError as problem:
        raise DataError(f"{problem}") from None
    if folder.file.patient not in table.header:  # without the heading, the first patient would be taken for one
        raise DataError(
            f"{table.path}: its first line must be {folder.file.patient!r} (the key `patient` in site.yaml), and each "
            "line after it the number of one patient who opted out."
        )
    return table
