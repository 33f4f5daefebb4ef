"""Cache: decoded once, trained on many times. One folder an entry, written aside and renamed into place.

    <cache>/<modality>/<recipe>-<key>/rows.bin     the rows, one after the other
                                      index.json   their type and shape, pseudonyms, and stamps of what they came from
                                      checksum     SHA-256 of index.json, which holds that of rows.bin

The key covers the sources, the study's part for this modality, and the versions of the code that prepared it; `recipe`
is what of that does not depend on the data. An entry that is not whole is never trusted: it is deleted and made anew.
Folders are 0700 and files 0600, for what they hold is still data about patients.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from client.data.pseudonym import private_folder
from common.disk.atomic_file import to_disk
from common.disk.lock import locked
from common.disk.whole_folder import remove_whole, whole_folder
from common.errors import DataError
from common.format_number import KEY, take_format

_ASIDE = ".new-"
FORMAT = 1  # of index.json; an entry of a newer form is made anew, as one that is not whole


@dataclass(frozen=True)
class EntryName:
    """Which entry: the modality, how it is prepared, and out of what."""

    modality: str
    recipe: str
    key: str

    @property
    def folder(self) -> Path:
        return Path(self.modality) / f"{self.recipe[:16]}-{self.key[:32]}"


@dataclass(frozen=True, repr=False)
class Entry:
    """Prepared rows of one modality: (N, ...) read from disk when touched; `rows[i]` is of `pseudonyms[i]`."""

    rows: NDArray[Any]
    pseudonyms: tuple[str, ...]
    stamps: tuple[str, ...]
    counts: dict[str, int]
    checksum: str

    def __repr__(self) -> str:
        return f"Entry({len(self.pseudonyms)} rows)"


@dataclass(repr=False)
class Writer:
    """Takes rows one by one, in any number, and never holds more than one."""

    file: BinaryIO
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    hash: Any = field(default_factory=hashlib.sha256)
    pseudonyms: list[str] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, pseudonym: str, stamp: str, row: NDArray[Any]) -> None:
        if row.shape != self.shape or row.dtype != self.dtype:
            raise ValueError("a row of another shape or type than its entry")
        content = np.ascontiguousarray(row).tobytes()
        self.file.write(content)
        self.hash.update(content)
        self.pseudonyms.append(pseudonym)
        self.stamps.append(stamp)

    def index(self) -> dict[str, Any]:
        return {
            KEY: FORMAT,
            "dtype": self.dtype.str,
            "shape": list(self.shape),
            "rows": self.hash.hexdigest(),
            "pseudonyms": self.pseudonyms,
            "stamps": self.stamps,
            "counts": dict(self.counts),
        }


class Cache:
    """The cache of one site. Use it inside `locked`: one process prepares, others wait and find what it made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        private_folder(self._folder)
        with locked(self._folder / "lock"):
            for debris in self._folder.glob(f"*/{_ASIDE}*"):  # of a process that was killed: nobody else holds the lock
                shutil.rmtree(debris)
            yield

    def load(self, name: EntryName) -> Entry | None:
        """The entry if it is there and whole; a damaged one is deleted."""
        folder = self._folder / name.folder
        if not folder.is_dir():
            return None
        entry = _read(folder)
        if entry is None:
            shutil.rmtree(folder)
        else:
            os.utime(folder)  # when it was last of use
        return entry

    def earlier(self, name: EntryName) -> Entry | None:
        """An entry of the same recipe out of other data: rows whose stamp is still the same need no second decoding."""
        for folder in sorted((self._folder / name.modality).glob(f"{name.recipe[:16]}-*")):
            entry = _read(folder)
            if entry is not None:
                return entry
        return None

    def forget(self, pseudonyms: Collection[str]) -> None:
        """Delete every entry that holds one of these patients, or that cannot say whom it holds. Takes the lock."""
        if not pseudonyms or not self._folder.is_dir():
            return
        with self.locked():
            for folder in self._folder.glob("*/*/"):
                if not _held(folder).isdisjoint({*pseudonyms, ""}):
                    shutil.rmtree(folder)

    def purge(self, modalities: Collection[str] | None = None, unused_since: float = math.inf) -> int:
        """Delete entries of these modalities (None: all) not loaded since a POSIX time: how many. Takes the lock."""
        if not self._folder.is_dir():
            return 0
        with self.locked():
            wanted = [
                folder
                for folder in self._folder.glob("*/*/")
                if (modalities is None or folder.parent.name in modalities) and folder.stat().st_mtime < unused_since
            ]
            for folder in wanted:
                remove_whole(folder, _aside(folder))
        return len(wanted)

    @contextmanager
    def writer(self, name: EntryName, shape: tuple[int, ...], dtype: Any) -> Iterator[Writer]:
        """Write an entry; it appears at the end, whole, in place of those of the same recipe, or not at all."""
        target = self._folder / name.folder
        private_folder(target.parent)
        with whole_folder(target, draft=_aside(target)) as aside:
            with open(aside / "rows.bin", "wb", opener=_private) as file:
                writer = Writer(file, shape, np.dtype(dtype))
                yield writer
                to_disk(file)
            index = json.dumps(writer.index()).encode()
            for part, content in (("index.json", index), ("checksum", hashlib.sha256(index).hexdigest().encode())):
                with open(aside / part, "wb", opener=_private) as file:
                    file.write(content)
                    to_disk(file)
            for old in target.parent.glob(f"{name.recipe[:16]}-*"):
                shutil.rmtree(old)


def _aside(entry: Path) -> Path:
    """Where it lies while it is made or deleted; a kill leaves it there, and who takes the lock next deletes it."""
    return entry.with_name(f"{_ASIDE}{entry.name}")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _held(folder: Path) -> set[str]:
    """Whose rows an entry has; the empty name stands for nobody knows."""
    try:
        return set(json.loads((folder / "index.json").read_bytes())["pseudonyms"])
    except (OSError, ValueError, KeyError, TypeError):
        return {""}


def _read(folder: Path) -> Entry | None:
    try:
        return _read_whole(folder)
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def _read_whole(folder: Path) -> Entry | None:
    text = (folder / "index.json").read_bytes()
    if hashlib.sha256(text).hexdigest() != (folder / "checksum").read_text():
        return None
    index = json.loads(text)
    take_format(index, FORMAT, "index.json", DataError)
    with (folder / "rows.bin").open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != index["rows"]:
            return None
    shape = (len(index["pseudonyms"]), *index["shape"])
    rows: NDArray[Any] = (
        np.memmap(folder / "rows.bin", dtype=np.dtype(index["dtype"]), mode="r", shape=shape)
        if shape[0]
        else np.zeros(shape, dtype=np.dtype(index["dtype"]))
    )
    return Entry(rows, tuple(index["pseudonyms"]), tuple(index["stamps"]), index["counts"], index["rows"])
