"""List text: the bytes of a list of opt-outs as text, in which what is damaged in one line stays in that line.

UTF-16 has two bytes a sign and no way to find the next one: a byte too many or too few moved all signs behind it, and
with them every number. So its lines are found in the bytes, at any place, and each is decoded by itself.
"""

from __future__ import annotations

import codecs

_DAMAGED = "\ufffd"


def list_text(content: bytes) -> str:
    """Return text in UTF-8 or, where its mark says so, UTF-16. What is neither is U+FFFD, which is in no number."""
    if content.startswith(codecs.BOM_UTF16_LE):
        return _by_line(content[2:], "utf-16-le", b"\n\0")
    if content.startswith(codecs.BOM_UTF16_BE):
        return _by_line(content[2:], "utf-16-be", b"\0\n")
    return content.decode("utf-8-sig", errors="replace")


def _by_line(content: bytes, encoding: str, end: bytes) -> str:
    return "\n".join(_decoded(line, encoding) for line in content.split(end))


def _decoded(line: bytes, encoding: str) -> str:
    """A damaged line, or several whose ends are damaged, as the signs of ASCII in it where half its bytes are zero."""
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        if 2 * line.count(0) < len(line) - 4:
            return line.decode(encoding, errors="replace") + _DAMAGED
    return "\n".join(part + _DAMAGED for part in line.replace(b"\0", b"").decode("ascii", "replace").splitlines())
