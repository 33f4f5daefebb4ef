"""What another local user may do on this machine: a process that gives root away before it tries."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.support.warm import called

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

# The interpreter may lie where the other user cannot look: what is needed is imported first, then the user is changed.
_DROP = """
import os, sys
os.setgroups([]); os.setresgid({uid}, {uid}, {uid}); os.setresuid({uid}, {uid}, {uid})
try:
    os.setuid(0)
except PermissionError:
    pass
else:
    sys.exit("still root")
"""


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter: what is closed inside is closed by itself, and not by where it lies."""
    folder = Path(tempfile.mkdtemp(prefix="wardround-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def as_nobody(code: str, *words: str, imports: str = "") -> str:
    """What Python's `code`, run by uid 65534 with the arguments `words`, prints. It must end well."""
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "printed"
        whole = "\n".join((imports, _DROP.format(uid=NOBODY), code))
        assert called(_do, whole, words, printed, seconds=60) == 0, printed.read_text(encoding="utf-8")
        return printed.read_text(encoding="utf-8")


def _do(code: str, words: tuple[str, ...], printed: Path) -> None:
    sys.argv = ["-c", *words]
    with printed.open("w", encoding="utf-8", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        try:
            exec(code, {"__name__": "__main__"})
        except Exception:
            traceback.print_exc()
            raise


# All that a connector loads while it works, for a process that cannot load it any more.
_CONNECTOR = """
import concurrent.futures.thread, encodings.ascii, encodings.idna, encodings.latin_1, encodings.utf_8_sig
import httpx, httpcore
import client.network.connector, client.relay, common.identity.enrolment, deploy.cli, deploy.daemons.processes
"""


def dropping(command: list[str]) -> list[str]:
    """`python -P -m deploy.cli WORDS...` as a process that becomes uid 65534 before it does anything."""
    words = command[command.index("deploy.cli") + 1 :]
    code = _CONNECTOR + _DROP.format(uid=NOBODY) + "deploy.cli.main()\n"
    return [sys.executable, "-P", "-c", code, *words]


_READ = """
for path in sys.argv[1:]:
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            open(path, "rb").read(1)
        print(path)
    except PermissionError:
        pass
"""


def readable_by_nobody(paths: list[Path]) -> list[Path]:
    """Those of these existing files and folders whose content uid 65534 can read."""
    assert paths and all(path.exists() for path in paths)
    return [Path(line) for line in as_nobody(_READ, *map(str, paths)).splitlines()]
