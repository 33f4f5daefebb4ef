"""A disk that fails or is full: told in words, and the log stays whole."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from common.disk.audit import Audit, Joined, Record, Started
from common.errors import AuditError
from tests.support.audit import RUN, STUDY
from tests.support.forked import all_told, start


def test_it_is_on_the_disk_before_an_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: dict[int, int] = {}  # inode -> size when it was brought to the disk
    fsync = os.fsync

    def watched(file: int) -> None:
        fsync(file)
        synced[os.fstat(file).st_ino] = os.fstat(file).st_size

    monkeypatch.setattr(os, "fsync", watched)
    Audit(path).append(Started("0.1.0"))
    assert path.parent.stat().st_ino in synced  # the name of the new file
    Audit(path).append(Started("0.1.0"))
    assert synced[path.stat().st_ino] == path.stat().st_size


def test_what_the_disk_did_not_take_is_not_in_the_log(
    path: Path, six: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(file: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(AuditError, match="Input/output error"):
            Audit(path).append(Joined(STUDY, RUN, 2))
    assert path.read_bytes() == b"".join(six)
    assert Audit(path).verify().broken is None


def test_a_full_disk_is_told_and_leaves_the_log_whole(path: Path, six: list[bytes]) -> None:
    before, length = path.read_bytes(), len(Record.after(Record.read(six[-1]), Started("0.1.0")).line)

    def append(told: Any) -> None:
        for room in range(length):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, -1))
            try:
                Audit(path).append(Started("0.1.0"))
            except AuditError as error:
                told.send((str(error), path.read_bytes() == before))

    process, mine = start(append)
    refusals = all_told(mine)
    process.join()
    assert len(refusals) == length
    assert all("Make room on the disk" in text and same for text, same in refusals)
    Audit(path).append(Started("0.1.0"))
    assert Audit(path).verify().count == 7


def test_a_disk_that_is_full_in_a_repair_loses_the_unfinished_line_only(path: Path, six: list[bytes]) -> None:
    whole = b"".join(six)
    path.write_bytes(whole + b'{"sequence":7,"ti')

    def append(told: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, -1))
        try:
            Audit(path).append(Started("0.1.0"))
        except AuditError as error:
            told.send(str(error))

    process, mine = start(append)
    assert len(all_told(mine)) == 1
    process.join()
    assert path.read_bytes() == whole
