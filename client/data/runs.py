"""Runs: a text as its runs of letters and figures, and the keys of what stands from one of them to another.

A number may stand anywhere in a line, and consist of several runs (`SC-0704`, `10 000`). The key of each part is put
together from the keys of its runs, as `client.data.near` has it of the whole: a list has a million such parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

from client.data.near import EXPONENT, LONGEST_NUMBER, key_of

_LATIN = "0-9A-Za-zÀ-ÖØ-öø-ɏ"
# A number as a spreadsheet shortens it; letters and figures. Where Chinese stands beside figures, no blank does.
_RUN = re.compile(rf"{EXPONENT.pattern.removeprefix('[+]?')}(?![^\W_])|[{_LATIN}]+|[^\W_{_LATIN}]+")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:([., ])\d{3})(?:\1\d{3})*(?!\d)")


def spans(text: str) -> list[tuple[int, int]]:
    """Where each run begins and ends."""
    return [run.span() for run in _RUN.finditer(text)]


class Runs:
    """The runs of a plain text (`client.data.near.plain`)."""

    def __init__(self, text: str):
        self.text = text
        self.spans = spans(text)
        self._runs = [text[start:end] for start, end in self.spans]
        self._keys = [_key(run) for run in self._runs]
        self._gaps = ["".join(text[one[1] : other[0]].split()) for one, other in pairwise(self.spans)]

    def __len__(self) -> int:
        return len(self._runs)

    def key(self, at: int, number: int) -> str:
        """The key of so many runs, from the one at this place on, and of what stands between."""
        if number == 1:
            return self._keys[at]
        return key_of(self.text[self.spans[at][0] : self.spans[at + number - 1][1]])

    def shapes(self, at: int, most: int) -> Iterator[tuple[int, str]]:
        """So many runs, at most, from the one at this place on, and of what kind their key is: `a-9` of `SC-07 04`."""
        shape, start = _shape(self._runs[at]), self.spans[at][0]
        yield 1, shape
        for last in range(at + 1, min(at + most, len(self))):
            if self.spans[last][1] - start > LONGEST_NUMBER:
                return
            gap, one = self._gaps[last - 1], _shape(self._runs[last])
            if self._keys[last] == "0" and gap in {".", ","}:  # `10000.0`
                yield last - at + 1, shape
            shape += gap + (one[1:] if not gap and shape[-1] == one[0] else one)
            yield last - at + 1, shape

    def mixed(self) -> list[str]:
        """The runs that have figures and letters."""
        return [run for run in self._runs if not run.isdigit() and not run.isalpha()]

    def grouped(self) -> Iterator[str]:
        """The keys of figures in groups of three: 10.000, 10,000 and 10 000."""
        for group in _THOUSANDS.finditer(self.text) if len(self) > 1 else ():
            yield key_of(group[0].replace(group[1], ""))

    def powers(self) -> Iterable[str]:
        """The runs with an exponent, and the whole text if it is one but for blanks."""
        if "e" not in self.text:
            return ()
        return filter(EXPONENT.fullmatch, dict.fromkeys(("".join(self.text.split()), *self._runs)))


def _key(run: str) -> str:
    if run.isascii() and run.isdigit():
        return run.lstrip("0") or "0"
    return run if run.isalpha() else key_of(run)


def _shape(run: str) -> str:
    if run.isdigit():
        return "9"
    return "a" if run.isalpha() else _mixed(run)


@lru_cache(2**12)
def _mixed(run: str) -> str:
    if EXPONENT.fullmatch(run):
        return "9"
    return re.sub(r"\d+", "9", re.sub(r"[^\W\d_]+", "a", run))
