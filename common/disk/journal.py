"""A journal: a file of lines of JSON, only ever added to, each sealing the one before, under a lock and on the disk.

What a line says and how it is sealed is its user's, who has a `Form` of it: the audit log (`common/disk/audit.py`) and
the ledger (`client/ledger/ledger.py`). Safe between threads and processes. A kill can leave a last line unfinished,
which had said nothing yet.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from common.disk.atomic_file import keep_names
from common.disk.lock import APPENDED, locked
from common.errors import WardroundError
from common.format_number import KEY

R = TypeVar("R")


class Form(Protocol[R]):
    """What a journal has to know of its lines. `newest`: the format number up to which this release reads them."""

    @property
    def newest(self) -> int: ...

    def read(self, line: bytes) -> R | None:
        """Return what a line says, given without its line feed; None for what is no line of this journal."""

    def follows(self, record: R, last: R | None) -> bool:
        """Return whether the record seals this one as the one before; None where it has to be the first."""


@dataclass
class BrokenError(Exception):
    """Line `number`, from 1 on, is not what has to stand there; `format`: of a line of a newer release, else 0."""

    number: int
    line: bytes
    format: int = 0


@dataclass(frozen=True)
class Seen(Generic[R]):
    """How far a journal was read: the very bytes of its whole lines, how many, and what the last one says."""

    content: bytes = b""
    count: int = 0
    last: R | None = None


class Journal(Generic[R]):
    """The journal at `path`. `unusable`: makes the error that is raised in place of an OSError.

    through_links: whether the file may be reached by a link in its place
    """

    def __init__(
        self, path: Path, form: Form[R], unusable: Callable[[OSError], WardroundError], *, through_links: bool = False
    ) -> None:
        self._path, self._form, self._unusable = path, form, unusable
        self._flags = 0 if through_links else os.O_NOFOLLOW

    @contextmanager
    def writing(self) -> Iterator[int]:
        """Give the open file, made if need be, its owner's alone, which nobody else has until the block ends."""
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self._path, APPENDED | self._flags) as file:
                os.fchmod(file, 0o600)
                yield file

    def content(self) -> bytes:
        """Return all of it, while nobody writes; nothing of one that was not begun, and none is made."""
        if not os.path.lexists(self._path):
            return b""
        with self._errors(), locked(self._path, os.O_RDONLY | self._flags, fcntl.LOCK_SH) as file:
            return content_of(file)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            raise self._unusable(problem) from None

    # -------------------------------------------------------------------------------------------------------- reading

    def chain(self, lines: Sequence[bytes], seen: Seen[R] | None = None) -> Iterator[R]:
        """Return the records of these lines, which stand behind those that were seen. BrokenError where they do not."""
        last, before = (seen.last, seen.count) if seen else (None, 0)
        for number, line in enumerate(lines, before + 1):
            last = self.next(line, last, number)
            yield last

    def next(self, line: bytes, last: R | None, number: int) -> R:
        """Return what this line says, which has to follow `last`. BrokenError where it does not, or cannot be read."""
        record = self._form.read(line)
        if record is None or not self._form.follows(record, last):
            raise BrokenError(number, line, _newer(line, self._form.newest) if record is None else 0)
        return record

    def read_on(self, seen: Seen[R], content: bytes) -> tuple[list[R], Seen[R], bytes]:
        """Return what the whole lines behind those that were seen say, how far that is, and an unfinished last line.

        `content` begins with what was seen. Only what is new is parsed and checked.
        """
        end = content.rfind(b"\n") + 1
        new = content[len(seen.content) : end]
        records = list(self.chain(new[:-1].split(b"\n") if new else [], seen))
        last = records[-1] if records else seen.last
        return records, Seen(content[:end], seen.count + len(records), last), content[end:]

    def end(self, file: int, longest: int) -> tuple[R | None, bytes]:
        """Return the last record, and an unfinished line after it, from the end of the file alone, however long it is:
        no line has more bytes than `longest`. BrokenError (line 0) where the last line cannot be read.
        """
        size = os.fstat(file).st_size
        content = os.pread(file, 2 * longest, max(0, size - 2 * longest))
        finished, _, unfinished = content.rpartition(b"\n")
        line = finished.rpartition(b"\n")[2]
        last = self._form.read(line)
        if last is None and size > len(unfinished):
            raise BrokenError(0, line, _newer(line, self._form.newest))
        return last, unfinished

    # -------------------------------------------------------------------------------------------------------- writing

    def add(self, file: int, line: bytes) -> None:
        """Write one line, or what an unfinished one lacks, and bring it to the disk; or leave the file as it was."""
        size = os.fstat(file).st_size
        if not size:
            keep_names(self._path.parent)  # a new file's name is on the disk too
        try:
            while line:
                line = line[os.write(file, line) :]
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise

    def take_away(self, file: int, unfinished: bytes) -> None:
        """Take away an unfinished last line of these bytes."""
        os.ftruncate(file, os.fstat(file).st_size - len(unfinished))
        os.fsync(file)


def content_of(file: int) -> bytes:
    """Return all that is in an open file, wherever it was read to."""
    parts, at = [], 0
    while part := os.pread(file, 1 << 20, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _newer(line: bytes, newest: int) -> int:
    """Return a newer format that a line names, for nothing here can tell whether such a one is whole; else 0."""
    try:
        number = json.loads(line).get(KEY, 0)
    except (ValueError, AttributeError, RecursionError):
        return 0
    return number if type(number) is int and number > newest else 0
