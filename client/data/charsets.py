"""Character sets of DICOM headers: what a name's bytes may say when the header names no set, or a wrong one.

Many archives write names in the machine's own encoding and say nothing of it (PS3.3 C.12.1.1.2 asks for Specific
Character Set), so each plausible reading is a form of the name that a note must not hold.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_ENCODINGS = (
    "utf-8", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1252", "cp1250", "cp1251", "koi8_r", "iso8859_5",
    "cp1253", "cp1255", "cp1256", "cp874",
)  # fmt: skip
_ESCAPE = re.compile(rb"\x1b[$()\-.][$()]?[ -~]?")
_SHORTEST = 3  # letters of a reading that the header did not declare: two are in too many words
_JOINING = ("CJK", "HIRAGANA", "KATAKANA")


def readings(content: bytes, declared: str) -> list[str]:
    """What the bytes of a value may say: as declared, and every plausible reading beside it."""
    if content.isascii() and b"\x1b" not in content:
        return [declared]
    others = [text for text in dict.fromkeys(_decoded(content)) if text != declared and _plausible(text)]
    return [declared, *others]


def _decoded(content: bytes) -> Iterator[str]:
    if b"\x1b" in content:
        for encoding in ("iso2022_jp_2", "iso2022_kr"):
            yield from _one(content, encoding)
        content = _ESCAPE.sub(b"", content)  # of a set whose bytes are its own without escapes: GB 2312, KS X 1001
    for encoding in _ENCODINGS:
        yield from _one(content, encoding)


def _one(content: bytes, encoding: str) -> Iterator[str]:
    try:
        yield content.decode(encoding).strip("\0 ")
    except UnicodeDecodeError:
        return


def _plausible(text: str) -> bool:
    """A name: letters of one script in each word, at least some of them, and nothing but signs of names between."""
    words = re.findall(r"[^\W\d_]+", text)
    if not words or re.search(r"[^\w\s^=.,;:'’()/\-]", text) or any(_is_odd(sign) for sign in text if sign != "^"):
        return False
    return all(len(_scripts(word)) == 1 for word in words) and max(map(_weight, words)) >= _SHORTEST


def _weight(word: str) -> int:
    """Letters; an ideograph, or a syllable of Korean, says as much as three."""
    return sum(3 if ord(sign) >= 0x2E80 else 1 for sign in word)


def _is_odd(sign: str) -> bool:
    return unicodedata.category(sign) in {"Cc", "Cn", "Co", "Cs", "Sk", "No", "Nl"}


def _scripts(word: str) -> set[str]:
    names = {unicodedata.name(sign, "?").split()[0] for sign in word}
    return {"CJK" if name in _JOINING else name for name in names}
