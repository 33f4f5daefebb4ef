"""Files that are there whole, or as they were: killed at any moment, written by several at once, on a full disk."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.disk.atomic_file import BY_UMASK, PRIVATE, PUBLIC, whole_file, write_new, write_whole
from tests.support.forked import all_told, killed_at, start


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(
    old=st.none() | st.binary(max_size=40),
    new=st.binary(max_size=40),
    mode=st.sampled_from([PRIVATE, PUBLIC, BY_UMASK]),
    apart=st.booleans(),
)
@settings(max_examples=5, deadline=None)
def test_killed_at_any_moment_a_file_is_the_old_one_or_the_new_one(
    old: bytes | None, new: bytes, mode: int | None, apart: bool
) -> None:
    """And the next writing leaves nothing else in the folder. Before the end nobody else may read a secret's draft."""
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "file"

        def write(data: bytes = new) -> None:
            with whole_file(path, mode, apart=apart) as draft, draft.open("wb", buffering=0) as file:
                file.write(data[:20])
                os.write(file.fileno(), data[20:])  # the one that is watched

        if old is not None:
            path.write_bytes(old)
        number = 0
        while killed_at(number, write):
            there = path.read_bytes() if path.exists() else None
            assert there in (old, new), number
            if there != new:
                for left in folder.rglob("*.draft"):
                    assert mode is BY_UMASK or apart or stat.S_IMODE(left.stat().st_mode) in (PRIVATE, mode)
            write()
            assert files(folder) == ["file"] and path.read_bytes() == new
            path.unlink() if old is None else path.write_bytes(old)
            number += 1
        assert number > 10 and path.read_bytes() == new


def test_what_is_renamed_is_on_the_disk_before_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power keeps what was brought to the disk, in any order of what was not."""
    happened: list[tuple[str, int]] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def synced(file: int) -> None:
        fsync(file)
        happened.append(("synced", os.fstat(file).st_ino))

    def renamed(one: Path, other: Path) -> None:
        happened.append(("named", one.stat().st_ino))
        replace(one, other)

    def linked(one: Path, other: Path) -> None:
        happened.append(("named", one.stat().st_ino))
        link(one, other)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "link", linked)
    for number, write in enumerate((write_whole, write_new)):
        happened.clear()
        path = tmp_path / str(number)
        write(path, b"data")
        file, folder = path.stat().st_ino, tmp_path.stat().st_ino
        assert happened == [("synced", file), ("named", file), ("synced", folder)]
    with whole_file(tmp_path / "apart", apart=True) as draft:  # also where another file came in place of the draft
        (draft.parent / "other").write_bytes(b"data")
        (draft.parent / "other").rename(draft)
        happened.clear()
    assert happened[0] == ("synced", (tmp_path / "apart").stat().st_ino)


def test_a_full_disk_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for apart in (False, True):
        with pytest.raises(OSError, match="full"), whole_file(path, apart=apart):
            raise OSError(errno.ENOSPC, "full")
        assert files(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_what_lies_in_the_place_of_a_draft_is_never_written_to(tmp_path: Path) -> None:
    """A link or another name of a file that is not ours, a file that others may read, a folder."""
    victim, path, draft = tmp_path / "victim", tmp_path / "secret", tmp_path / ".secret.draft"
    for put in (
        lambda: draft.symlink_to(victim),
        lambda: draft.hardlink_to(victim),
        lambda: (draft.write_bytes(b"open"), draft.chmod(0o666)),
        draft.mkdir,
    ):
        victim.write_bytes(b"kept")
        put()
        write_whole(path, b"secret")
        assert victim.read_bytes() == b"kept" and path.read_bytes() == b"secret" and not path.is_symlink()
        assert stat.S_IMODE(path.stat().st_mode) == PRIVATE and files(tmp_path) == ["secret", "victim"]


def test_the_umask_says_who_may_read_what_is_nobodys_secret(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "report", b"", BY_UMASK)
        write_whole(tmp_path / "roster", b"", PUBLIC)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("report", "roster")]
    assert modes == [0o640, 0o644]


def test_of_several_at_once_one_makes_a_new_file_and_all_see_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "key"

    def make(told: Any, mine: bytes) -> None:
        try:
            write_new(path, mine)
            told.send(("made", path.read_bytes()))
        except FileExistsError:
            told.send(("there", path.read_bytes()))

    for _ in range(6):
        both = [start(make, bytes([number]) * 32) for number in range(4)]
        said = [one for process, mine in both for one in all_told(mine) if process.join() is None]
        assert sorted(what for what, _ in said) == ["made", "there", "there", "there"]
        assert {seen for _, seen in said} == {path.read_bytes()} and len(path.read_bytes()) == 32
        assert files(tmp_path) == ["key"] and stat.S_IMODE(path.stat().st_mode) == PRIVATE
        path.unlink()


def test_killed_at_any_moment_a_new_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path, number = tmp_path / "key", 0
    while killed_at(number, lambda: write_new(path, b"whole")):
        assert not path.exists() or path.read_bytes() == b"whole"
        try:
            write_new(path, b"other")
        except FileExistsError:
            assert path.read_bytes() == b"whole"
        assert files(tmp_path) == ["key"], number
        path.unlink()
        number += 1
    assert number > 8
