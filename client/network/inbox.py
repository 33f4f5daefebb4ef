"""Letters that have no reply yet, on disk: what the server was told is safe here must outlive the connector."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.network.fleet import Letter
from common.disk.atomic_file import whole_file
from common.errors import InstallationError, RunError
from common.format_number import KEY, take_format

FORMAT = 1  # of a letter's head


class Inbox:
    """One file a letter. They hold weights and protocol messages, nothing of patients."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def keep(self, letter: Letter) -> None:
        """Whole or not at all; on disk when this returns."""
        head = json.dumps({**letter.head, KEY: FORMAT}).encode()
        with whole_file(self._path(letter)) as draft, draft.open("wb") as file:
            file.write(len(head).to_bytes(4, "big") + head)
            file.write(letter.data)

    def __contains__(self, letter: Letter) -> bool:
        return self._path(letter).exists()

    def done(self, letter: Letter) -> None:
        """Its reply is with the server."""
        self._path(letter).unlink(missing_ok=True)

    @property
    def is_empty(self) -> bool:
        return next(self._folder.glob("*.letter"), None) is None

    def waiting(self) -> Iterator[Letter]:
        """Those of a connector that was killed, the oldest first. What it had half written is deleted, for the server
        gives that again; so is one that cannot be read. InstallationError for one that a newer release kept.
        """
        for draft in self._folder.glob("*.draft"):
            draft.unlink()
        for path in sorted(self._folder.glob("*.letter"), key=lambda path: path.stat().st_mtime):
            try:
                head, data = _split(path.read_bytes())
                take_format(head, FORMAT, str(path), InstallationError)
                yield Letter.of(head, data)
            except (RunError, ValueError, KeyError, TypeError):
                path.unlink()

    def _path(self, letter: Letter) -> Path:
        if not all(sign in "0123456789abcdef" for sign in letter.key):
            raise RunError("A message with a name that is no digest.")
        return self._folder / f"{letter.key}.letter"


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(data[:4], "big")
    return json.loads(data[4 : 4 + size]), data[4 + size :]
