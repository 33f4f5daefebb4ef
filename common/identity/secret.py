"""Secret: bytes that cannot be printed, pickled, copied or compared by accident, and are overwritten when dropped.

What Python allows, and no more: the buffer that this object owns is overwritten. Copies that OpenSSL, `int` or an
immutable `bytes` made for one computation are freed but not overwritten, and memory may have been swapped to disk.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from common.errors import SecureSumError
from common.identity.encoding import Bytes


class Secret:
    """Owns a private copy of some bytes until `wipe`, or until nobody refers to it."""

    __slots__ = ("_data",)

    def __init__(self, data: Bytes) -> None:
        self._data: bytearray | None = bytearray(data)

    @classmethod
    def random(cls, length: int) -> Secret:
        """Fresh from the operating system's generator."""
        return cls(os.urandom(length))

    @classmethod
    def join(cls, *parts: Secret) -> Secret:
        """One secret with the bytes of all parts."""
        joined = cls(b"")
        joined._data = bytearray().join(part.expose() for part in parts)
        return joined

    def expose(self) -> memoryview:
        """A read-only view for a cryptographic primitive. Do not keep it. SecureSumError when wiped."""
        if self._data is None:
            raise SecureSumError("A secret of this sum was asked for after it had been erased.")
        return memoryview(self._data).toreadonly()

    @property
    def wiped(self) -> bool:
        return self._data is None

    def wipe(self) -> None:
        """Overwrite and forget. Harmless when repeated."""
        data, self._data = self._data, None
        if data is not None:
            data[:] = bytes(len(data))

    def __del__(self) -> None:
        if hasattr(self, "_data"):
            self.wipe()

    def __repr__(self) -> str:
        return "Secret(...)"

    def __format__(self, spec: str) -> str:
        return repr(self)

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError("A secret is not compared, hashed, copied or pickled.")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __hash__ = _refuse
    __reduce__ = __reduce_ex__ = __getstate__ = __copy__ = __deepcopy__ = _refuse
