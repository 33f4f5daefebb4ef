"""The lock of a file: whoever waits gets it when its holder's block ends, or its process, however it ends."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.disk.lock import APPENDED, locked

HELD = """
import sys, time
from pathlib import Path
from common.disk.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def is_free(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_nobody_else_has_it_until_the_block_ends(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", list[str]()

    def other() -> None:
        with locked(path):
            order.append("other")

    with locked(path):
        assert not is_free(path)
        waits = threading.Thread(target=other)
        waits.start()
        waits.join(0.2)
        order.append("first")
    waits.join(10)
    assert order == ["first", "other"] and is_free(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_child_that_was_begun_meanwhile_keeps_nobody_out(tmp_path: Path) -> None:
    """It has the same open file, as after a fork: closing ours would not free the lock."""
    with locked(tmp_path / "lock") as file:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=(file,))
    try:
        assert is_free(tmp_path / "lock")
    finally:
        child.kill()
        child.wait()


def test_a_process_that_is_killed_lets_it_go(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HELD, str(tmp_path / "lock")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert not is_free(tmp_path / "lock")
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert is_free(tmp_path / "lock")


def test_readers_share_it_and_a_link_is_not_followed_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, lock=fcntl.LOCK_SH), locked(path, lock=fcntl.LOCK_SH):
        assert not is_free(path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError), locked(tmp_path / "link", APPENDED | os.O_NOFOLLOW):
        pass
    assert not (tmp_path / "elsewhere").exists()
