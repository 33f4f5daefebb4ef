"""Canonical bytes: a value has one encoding, and no two lists of fields have the same one.

A list of fields is the concatenation of its fields, each after its length in 8 bytes, big endian: ("a", "bc") and
("ab", "c") differ. Whatever is hashed, signed, or goes into a key derivation is such a list, and its first field names
the protocol and the purpose, so that bytes made for one purpose never serve another.
"""

from __future__ import annotations

import hashlib
import unicodedata

from common.errors import SecureSumError

Bytes = bytes | bytearray | memoryview

PROTOCOL = "wardround secure sum 1"
DIGEST_BYTES = 32
MAX_NUMBER = 2**63 - 1
_LENGTH_BYTES = 8
_MAX_TEXT = 200


def encode(*fields: Bytes) -> bytes:
    """The fields, each after its length."""
    return b"".join(part for field in fields for part in (number(len(field)), field))


def split(data: bytes) -> list[bytes]:
    """The reverse of `encode`, or SecureSumError: nothing may be cut off, and nothing may follow."""
    fields, start, rest = [], 0, memoryview(data)
    while start < len(data):
        begin = start + _LENGTH_BYTES
        end = begin + int.from_bytes(rest[start:begin], "big")
        if begin > len(data) or end > len(data):
            raise SecureSumError("A message ends before its fields do.")
        fields.append(bytes(rest[begin:end]))
        start = end
    return fields


def label(purpose: str) -> bytes:
    """The first field of everything that is hashed, derived or sent."""
    return encode(PROTOCOL.encode(), purpose.encode())


def digest(purpose: str, *fields: Bytes) -> bytes:
    """SHA-256 of the purpose and the fields, without making a copy of fields that may be secret."""
    state = hashlib.sha256()
    for field in (label(purpose), *fields):
        state.update(number(len(field)))
        state.update(field)
    return state.digest()


def number(value: int) -> bytes:
    """8 bytes, big endian."""
    if not 0 <= value <= MAX_NUMBER:
        raise SecureSumError("A number of the protocol is not between 0 and 2^63 - 1.")
    return value.to_bytes(_LENGTH_BYTES, "big")


def read_number(data: bytes) -> int:
    """The reverse of `number`."""
    value = int.from_bytes(data, "big")
    if len(data) != _LENGTH_BYTES or value > MAX_NUMBER:
        raise SecureSumError("A number of the protocol is not between 0 and 2^63 - 1, in 8 bytes.")
    return value


def normal_text(text: str) -> str:
    """A name in Unicode NFC, so that two ways to write one name are one name. Refuses what a log could not show."""
    normal = unicodedata.normalize("NFC", text)
    if not 0 < len(normal) <= _MAX_TEXT or not normal.isprintable():
        raise SecureSumError(f"A name has 1 to {_MAX_TEXT} printable characters.")
    return normal


def read_text(data: bytes) -> str:
    """UTF-8 that is already in normal form: otherwise one name would have two encodings."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SecureSumError("A name is not UTF-8.") from None
    if normal_text(text) != text:
        raise SecureSumError("A name is not in Unicode NFC.")
    return text
