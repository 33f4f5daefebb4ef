"""Runs: a text as its runs of letters and figures, and the keys of what stands from one of them to another.

A number may stand anywhere in a line, and consist of several runs (`SC-0704`, `943 476 5919`), with other signs between
them than the hospital's table has, or with none. A list has a million such parts: `bare` tells which may be a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from client.data.near import EXPONENT, LABEL, LONGEST_NUMBER, key_of

EXACT_FIGURES = 15  # of a number that a spreadsheet keeps
_LATIN = "0-9A-Za-zÀ-ÖØ-öø-ɏ"
# A number as a spreadsheet shortens it; letters and figures. Where Chinese stands beside figures, no blank does.
_RUN = re.compile(rf"{EXPONENT.pattern.removeprefix('[+]?')}(?![^\W_])|[{_LATIN}]+|[^\W_{_LATIN}]+")
_MAY_BE_POWER = re.compile(r"\d\s*e")
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_GLUED = re.compile(r"\d{5,}")  # fewer are what a number has beside its letters: 550e8400
_PARTS, _TOGETHER = 3, 8  # runs of what may be a number: with blanks between them, and without


def spans(text: str) -> list[tuple[int, int]]:
    """Where each run begins and ends."""
    return [run.span() for run in _RUN.finditer(text)]


def written(text: str) -> Iterator[str]:
    """What a cell may call a patient, as it stands there: a bounded number of parts for each of its runs."""
    if text.isascii() and text.isalnum():
        yield text
        return
    places = spans(text)
    for at, (start, _) in enumerate(places):
        for number, (_, end) in enumerate(places[at : at + _TOGETHER], start=1):
            part = text[start:end]
            if len(part) > LONGEST_NUMBER or (number > _PARTS and len(part.split(None, 1)) > 1):
                break
            yield part


def bare(text: str) -> str:
    """Letters and figures alone, without zeros: two texts with a key in common have it in common too."""
    return (text if text.isalnum() else "".join(filter(str.isalnum, text))).replace("0", "")


class Runs:
    """The runs of a plain text (`client.data.near.plain`). Figures behind a label, or five and more, are a run."""

    def __init__(self, text: str):
        self.text = text
        self.spans = [(0, len(text))] if text.isascii() and text.isdigit() else list(_apart(text))
        self._runs = [text[start:end] for start, end in self.spans]
        self.bare = [bare(run) for run in self._runs]

    def __len__(self) -> int:
        return len(self._runs)

    def behind_label(self) -> int:
        """The place of the run before which a label ends that the text begins with; 0 where it does with none."""
        label = None if self.text[:1].isdigit() else LABEL.match(self.text)
        return next((at for at, (start, _) in enumerate(self.spans) if label and start == label.end()), 0)

    def keys(self, at: int, number: int) -> Iterator[str]:
        """The keys of so many runs, from the one at this place on: with what stands between them, as if nothing did,
        and as if it were a hyphen between figures. Of each group of figures the zeros that it begins with do not count.
        """
        runs = self._runs[at : at + number]
        if number == 1 and runs[0].isascii() and runs[0].isdigit():
            yield (whole := runs[0].lstrip("0") or "0")
        else:
            yield key_of(self.text[self.spans[at][0] : self.spans[at + number - 1][1]])
            letters = [run if run.isalnum() else "".join(filter(str.isalnum, run)) for run in runs]
            yield _ZEROS.sub("", re.sub(r"(?<=\d)\0(?=\d)", "-", "\0".join(letters)).replace("\0", ""))
            whole = "" if self._has_fraction(at, number) else _ZEROS.sub("", "".join(letters))
            yield whole
        if len(whole) > EXACT_FIGURES and whole.isdigit():
            yield damaged(whole)

    def powers(self) -> list[str]:
        """What has an exponent: the whole text but for its blanks, and runs."""
        if _MAY_BE_POWER.search(self.text) is None:
            return []
        return list(filter(EXPONENT.fullmatch, dict.fromkeys(("".join(self.text.split()), *self._runs))))

    def power(self, at: int) -> str:
        """The run at this place if it is a number with an exponent, or nothing."""
        run = self._runs[at]
        return run if "e" in run and EXPONENT.fullmatch(run) else ""

    def _has_fraction(self, at: int, number: int) -> bool:
        """Whether the last run is the zeros of `10000.0`, and not of `10,000` or `1.000.000`."""
        gaps = [self.text[self.spans[one][1] : self.spans[one + 1][0]] for one in range(at, at + number - 1)]
        last, before = self._runs[at + number - 1], self._runs[at + number - 2]
        zeros = number > 1 and gaps[-1] in {".", ","} and not last.strip("0") and before[-1].isdigit()
        return zeros and len(last) != 3 and gaps.count(gaps[-1]) == 1


def damaged(digits: str) -> str:
    """The key of a long number as a spreadsheet, or a program that counts in double precision, left it."""
    return f"≈{digits}"


def _apart(text: str) -> Iterator[tuple[int, int]]:
    for start, end in spans(text):
        run = text[start:end]
        if run.isalpha() or run.isdigit() or EXPONENT.fullmatch(run):
            yield start, end
            continue
        label = LABEL.match(run)
        cuts = {0, len(run), label.end() if label else 0}.union(*(figures.span() for figures in _GLUED.finditer(run)))
        yield from ((start + one, start + other) for one, other in pairwise(sorted(cuts)))
