"""Folders that are there whole or not at all, killed at any moment."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from common.disk.atomic_file import write_whole
from common.disk.whole_folder import EVERYBODYS, OWNERS, is_taken, whole_folder
from tests.support.forked import killed_at


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_whole_or_not_there_and_another_is_not_replaced(tmp_path: Path) -> None:
    folder, number = tmp_path / "made" / "folder", 0

    def fill() -> None:
        with whole_folder(folder, EVERYBODYS) as draft:
            assert stat.S_IMODE(draft.stat().st_mode) == OWNERS
            for name in "ab":
                write_whole(draft / name, b"whole")

    while killed_at(number, fill):
        assert not folder.exists() or (files(folder) == ["a", "b"] and stat.S_IMODE(folder.stat().st_mode) == 0o755)
        if folder.exists():
            assert is_taken(folder)
            with pytest.raises(OSError), whole_folder(folder):
                pass
            folder.rename(tmp_path / f"{number}")
        number += 1
    assert number > 20 and files(folder) == ["a", "b"]


def test_a_folder_whose_filling_fails_is_gone_and_an_empty_one_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert not is_taken(folder)
    with pytest.raises(ValueError, match="no"), whole_folder(folder) as draft:
        (draft / "a").write_text("a")
        raise ValueError("no")
    assert files(tmp_path) == ["folder"] and files(folder) == []
    with whole_folder(folder) as draft:
        (draft / "a").write_text("a")
    assert files(folder) == ["a"] and files(tmp_path) == ["folder"]
    (tmp_path / "link").symlink_to(folder)
    assert is_taken(folder) and is_taken(tmp_path / "link")
