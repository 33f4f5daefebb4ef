"""A Unix socket in front of another, that keeps every byte of both directions."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class Tap:
    """Listens at `path` for those who would call `behind`; use as a context manager. `heard`: all that was said."""

    def __init__(self, path: Path, behind: Path) -> None:
        self.path, self._behind, self.heard = path, behind, bytearray()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()

    def __enter__(self) -> Tap:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.path.unlink()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(str(self._behind))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while read := source.recv(1 << 16):
                self.heard += read
                sink.sendall(read)
            sink.shutdown(socket.SHUT_WR)
