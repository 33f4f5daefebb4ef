"""Folding: text without what writers differ in, for the first look; and where in it each folded sign came from."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from client.data.ideographs import HAN, SIMPLIFIED

# Letters that Unicode does not take apart into a letter and an accent.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}
)
DIGRAPHS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"}
_UNSEEN = {"Cf", "Co", "Cs"}
_BORDER = re.compile(rf"(?<=[{HAN}])(?=[^\W\d_{HAN}])|(?<=[^\W\d_{HAN}])(?=[{HAN}])")
_LINE_END = re.compile(r"(?<=[^\W_])[-‐‑]?[ \t]*\r?\n[ \t]*(?=[^\W_])")


def fold(text: str) -> str:
    """Lower case, without accents, ideographs simplified; ß is ss. Not of the length of `text`."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).translate(_LETTERS).translate(SIMPLIFIED)


def plain_signs(text: str) -> str:
    """Compatible forms made one (full-width digits, ligatures) and invisible signs left out: they hide words."""
    whole = unicodedata.normalize("NFKC", text)
    return "".join(sign for sign in whole if unicodedata.category(sign) not in _UNSEEN or sign == "\n")


def fold_with_places(text: str, *, over_lines: bool = False) -> tuple[str, list[int]]:
    """Folded text, and for each of its signs (and its end) the place in `text`.

    `over_lines`: a word that goes on in the next line, with or without a hyphen, is one word. Between an ideograph and
    a letter of another script stands a NUL: a word begins or ends there.
    """
    left_out = {place for cut in _LINE_END.finditer(text) for place in range(*cut.span())} if over_lines else set()
    if text.isascii() and not left_out:
        return text.lower(), list(range(len(text) + 1))
    borders = {border.end() for border in _BORDER.finditer(text)}
    signs: list[tuple[str, int]] = []
    for place, sign in enumerate(text):
        if place in borders:
            signs.append(("\0", place))
        if place not in left_out:
            signs += [(folded, place) for folded in _fold_sign(sign)]
    return "".join(sign for sign, _ in signs), [*(place for _, place in signs), len(text)]


@lru_cache(4096)
def _fold_sign(sign: str) -> str:
    return fold(sign)
