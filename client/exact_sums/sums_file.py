"""The file of a site's records of its secure sums: an SQLite database under a lock, and 0.1's JSON taken into it."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from common.disk.lock import locked
from common.errors import RunError

FORMAT = 1  # of the database, as its `user_version`; 0 has no tables yet
RECORDS, LOCK, RECORDS_OF_0_1 = "secure_sum.db", "secure_sum.lock", "secure_sum.json"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
    CREATE TABLE runs (run TEXT PRIMARY KEY, number INTEGER DEFAULT 0, upload INTEGER DEFAULT 0) WITHOUT ROWID;
    CREATE TABLE answered (question TEXT PRIMARY KEY, sites TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sets (segment TEXT, sites TEXT, colluding INTEGER, PRIMARY KEY (segment, sites)) WITHOUT ROWID;
    CREATE TABLE names (site TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE waiting (site TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE allowed (sites TEXT PRIMARY KEY, told TEXT NOT NULL DEFAULT '[]') WITHOUT ROWID;
"""


@contextmanager
def opened(state: Path) -> Iterator[tuple[Connection, int]]:
    """The records, locked, and how often the file was changed by now; what the block changes is on disk when it ends,
    and nothing of it when it raises.

    RunError when they cannot be read or kept.
    """
    path = state / RECORDS
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(state / LOCK):
            changes = _changes(path)
            with closing(_connected(path)) as file, file:
                file.execute("BEGIN IMMEDIATE")
                _prepare(file, state)
                yield file, changes
    except OSError as problem:
        raise RunError(f"{path}: cannot be kept ({problem.strerror}). Make room, or mend the disk.") from None
    except sqlite3.Error as problem:
        raise _explained(path, problem) from None


def _changes(path: Path) -> int:
    """Return the counter of changes that SQLite keeps in the file (sqlite.org/fileformat2.html, 1.3.7); where there is
    none, an empty one is made. To be read before SQLite has it open: closing it frees this process's locks on it.
    """
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)  # SQLite's own would be for all to read
    try:
        return int.from_bytes(os.pread(handle, 4, 24), "big")
    finally:
        os.close(handle)


def _connected(path: Path) -> Connection:
    file = sqlite3.connect(path, isolation_level=None)
    try:
        file.execute("PRAGMA journal_mode = TRUNCATE")  # with FULL, a commit is on disk when it returns
        file.execute("PRAGMA synchronous = FULL")
    except BaseException:
        file.close()
        raise
    return file


def _prepare(file: Connection, state: Path) -> None:
    """Make the tables of a new file, with what release 0.1 kept. What a person was told is a column that files of
    format 1 from before the release of 0.2 lack: of an allowance in them, nobody knows whom it was told to show.
    """
    (number,) = file.execute("PRAGMA user_version").fetchone()
    if number > FORMAT:
        raise RunError(
            f"{state / RECORDS}: is of format {number}, and this release of wardround reads up to {FORMAT}. It was "
            "written by a newer release: install that one."
        )
    if number == FORMAT and "told" not in [row[1] for row in file.execute("PRAGMA table_info(allowed)")]:
        file.execute("ALTER TABLE allowed ADD COLUMN told TEXT NOT NULL DEFAULT '[]'")
    if number < FORMAT:
        for statement in _TABLES.split(";"):
            file.execute(statement)
        _take_over(file, _of_0_1(state / RECORDS_OF_0_1))
        file.execute(f"PRAGMA application_id = {secrets.randbelow((1 << 31) - 1) + 1}")  # tells this file from others
        file.execute(f"PRAGMA user_version = {FORMAT}")


def _take_over(file: Connection, records: dict[str, dict[str, Any]]) -> None:
    numbers, uploads = records.get("numbers", {}), records.get("uploads", {})
    runs = [(run, numbers.get(run, 0), uploads.get(run, 0)) for run in numbers.keys() | uploads.keys()]
    file.executemany("INSERT INTO runs VALUES (?, ?, ?)", runs)
    file.executemany("INSERT INTO answered VALUES (?, ?)", list(records.get("answered", {}).items()))


def _of_0_1(path: Path) -> dict[str, dict[str, Any]]:
    """What release 0.1 kept; nothing where there is no such file. It is read once, and left as it is."""
    damaged = RunError(f"{path}: is damaged. Restore it from a backup taken after the last round.")
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise damaged from None
    if not isinstance(records, dict) or "format" in records:
        raise RunError(f"{path}: was not written by release 0.1, and this release keeps its records in {RECORDS}.")
    if not all(map(_is_of_0_1, records.items())):
        raise damaged
    return records


def _is_of_0_1(record: tuple[str, Any]) -> bool:
    """Whether it is a mapping of what that release kept: by run a number, or by question the digest of its sites."""
    what, kept = record
    return isinstance(kept, dict) and all(type(one) is (str if what == "answered" else int) for one in kept.values())


def _explained(path: Path, problem: sqlite3.Error) -> RunError:
    if getattr(problem, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        return RunError(f"{path}: is damaged. Restore it from a backup taken after the last round.")
    return RunError(
        f"{path}: cannot be kept ({getattr(problem, 'sqlite_errorname', 'SQLITE_ERROR')}). Make room, or mend the disk."
    )
