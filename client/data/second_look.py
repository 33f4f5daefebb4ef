"""The second look: whether a text still holds what is known of its patient, found by other means than the first.

The first look (`client.data.scrub`) seeks patterns in folded text. This one shares no pattern, no folding and no
reading of names or days with it: it makes one canonical form of the text and of each identifier and looks for the one
in the other. Words are compared by a skeleton that knows no umlauts, digraphs or double letters; long names are
sought in one run of all letters, whatever stands between; a day is a row of figures and months. It shares with the
first look only the lists of `client.data.ordinary`: a name that is an everyday word counts where it is written as a
name.

It says of which kind something was found, and never what.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from itertools import groupby

from client.data.canonical import Canonical, letters_of, skeleton
from client.data.case import Identifier
from client.data.identifiers import dates_of, national_numbers, place_pieces
from client.data.ideographs import COMPOUND_SURNAMES, SIMPLIFIED, is_ideograph
from client.data.ordinary import AROUND, FUNCTION_WORDS, MONTHS, PARTICLES, TITLES, is_month_here

TOKEN = re.compile(r"(\[(?:NAME|DATE|PHONE|ID|EMAIL|PLACE|AGE)\])")
_LOST = "?\ufffd"  # what a bad export leaves of a letter
_ENDINGS = frozenset("s es en ens n ns che chen cher ches sche schen scher sches in ins".split())
_CALLED = re.compile(
    r"(?:^|[^\w])(?:mr|mrs|ms|miss|dr|herrn?|frau|hr|fr|mme|mlle|m|monsieur|madame|patient(?:in|e)?|pat|name|nom)[\s.:]+$"
)
_ANYWHERE, _BEGINNING, _SHORTEST_NUMBER = 7, 6, 4
_YEAR_BEFORE, _YEAR_AFTER = re.compile(r"/(?:19|20)\d\d$"), re.compile(r"(?:19|20)\d\d/")
_PAIR = re.compile(r"(?<![\d./,])(\d{1,2})([/.])\s?(\d{1,2})(\.?)(?![\d/%]|[.,]\d)")
_SAID = re.compile(r"(?:\b(?:geb|geboren|born|am|on|le|n[ée]e?|dob)\b|[*])[\s.:]*$")


def residue(text: str, known: Iterable[Identifier]) -> set[str]:
    """Kinds of the patient's known identifiers that still stand in a text."""
    texts = TOKEN.split(text)[::2]
    cased = any(word[0].isupper() and word[1:].islower() for one in texts for word in re.findall(r"[^\W\d_]{2,}", one))
    pieces = [Canonical(one, cased=cased) for one in texts if one.strip()]
    named = [(one.kind, _seekers(one)) for one in known]
    return {kind for kind, seekers in named if any(seek(piece) for piece in pieces for seek in seekers)}


# ------------------------------------------------------------------------------------------------------ what is sought


@dataclass(frozen=True, repr=False)
class Part:
    """One word of a name. `everyday`: also a word of everybody's."""

    written: str
    everyday: bool
    plain: str = field(init=False)
    skeleton: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plain", letters_of(self.written))
        object.__setattr__(self, "skeleton", skeleton(self.written))

    def __call__(self, piece: Canonical) -> bool:
        if self.everyday:
            called = any(self._called(piece, place) for place, word in enumerate(piece.plain) if self._is(word))
            return called or self.skeleton in piece.spaced
        if len(self.plain) >= _ANYWHERE and len(self.skeleton) >= _ANYWHERE - 1 and self.skeleton in piece.run:
            return True
        return (
            any(map(self._equals, piece.plain, piece.skeletons))
            or (len(self.plain) >= 3 and any(self._equals(*both) for both in piece.joined))
            or any(self.skeleton in row or self.plain in row for row in piece.spaced if len(self.skeleton) >= 3)
            or self._damaged(piece)
        )

    def _is(self, word: str) -> bool:
        return word in {self.plain, f"{self.plain}s"}

    def _called(self, piece: Canonical, place: int) -> bool:
        """Whether an everyday word stands there as a name."""
        word = piece.words[place]
        end = word.start + len(word.letters)
        before = piece.composed[max(0, word.start - AROUND) : word.start].lower()
        after = piece.composed[end : end + AROUND].lower()
        if is_month_here(letters_of(before), piece.plain[place], after):
            return False
        return word.capital or not piece.cased or bool(_CALLED.search(before))

    def _equals(self, word: str, bare: str) -> bool:
        if self._is(word):
            return True
        if len(self.plain) < 4:
            return False
        rest = bare[len(self.skeleton) :] if bare.startswith(self.skeleton) else None
        if rest is None:
            rest = word[len(self.plain) :] if word.startswith(self.plain) else None
        return rest is not None and (not rest or rest in _ENDINGS or len(self.skeleton) >= _BEGINNING)

    def _damaged(self, piece: Canonical) -> bool:
        """Letters with accents that became marks, or two signs of another character set."""
        if self.written.isascii() or len(self.plain) < 3:
            return False
        marks = "".join(_with_marks(self.written.lower()))
        wrong = unicodedata.normalize("NFKC", self.written.encode().decode("latin-1"))
        seen = "".join(sign for sign in wrong if unicodedata.category(sign) != "Cf").lower()
        return bool(re.search(rf"(?<![^\W\d_]){marks}(?![^\W\d_])", piece.lower)) or seen in piece.lower


def _with_marks(word: str) -> Iterator[str]:
    """Yield a pattern of the word, in which each letter with an accent is one or two marks.

    A row of such letters is one repeat: letter by letter, every division of a row of marks would be tried.
    """
    for plain, run in groupby(word, str.isascii):
        letters = "".join(run)
        yield re.escape(letters) if plain else f"[{_LOST}]{{{len(letters)},{2 * len(letters)}}}"


@dataclass(frozen=True, repr=False)
class Whole:
    """Two or more parts in a row, in one word or several."""

    letters: str

    def __call__(self, piece: Canonical) -> bool:
        bare = skeleton(self.letters)
        if len(bare) >= _ANYWHERE and bare in piece.run:
            return True
        for start in range(len(piece.words)):
            row = ""
            for place in range(start, min(start + 5, len(piece.words))):
                if place > start and (len(piece.words[place].gap) > 3 or any(map(str.isdigit, piece.words[place].gap))):
                    break
                row += piece.plain[place]
                if row in {self.letters, f"{self.letters}s"}:
                    return True
        return False


@dataclass(frozen=True, repr=False)
class Ideographs:
    """A name, or a part of one, in a script without words."""

    text: str

    def __call__(self, piece: Canonical) -> bool:
        if len(self.text) > 1:
            return self.text in piece.together
        return self.text in piece.without_ordinary


@dataclass(frozen=True, repr=False)
class Figures:
    """A number of the patient's: long ones in any row of letters and figures, short ones as a word."""

    text: str

    def __call__(self, piece: Canonical) -> bool:
        return self.text in piece.signs if len(self.text) >= 6 else f"/{self.text}/" in piece.numbers


@dataclass(frozen=True, repr=False)
class Day:
    """A day of the patient's, in a row of figures and months."""

    day: date

    def __call__(self, piece: Canonical) -> bool:
        d, m, y = self.day.day, self.day.month, self.day.year
        years, named = (str(y), str(y % 100)), f"m{m}"
        rows = [f"/{d}/{month}/{year}/" for year in years for month in (named, f"r{m}", str(m))]
        rows += [f"/{month}/{d}/{year}/" for year in years for month in (named, str(m))]
        rows += [f"/{year}/{month}/{d}/" for year in years for month in (named, str(m))] + [f"/{y}/{d}/{m}/"]
        if any(row in piece.days for row in rows) or self._without_year(piece, d, m, named):
            return True
        figures = [f"{d:02}{m:02}", f"{m:02}{d:02}"]
        long = {f"{y}{m:02}{d:02}", *(f"{one}{y}" for one in figures), f"{d}{m}{y}", f"{m}{d}{y}"}
        short = {f"{y % 100:02}{m:02}{d:02}", *(f"{one}{y % 100:02}" for one in figures)}
        return any(form in piece.signs for form in long if len(form) >= 8) or any(
            f"/{form.lstrip('0')}/" in piece.days for form in short
        )

    def _without_year(self, piece: Canonical, d: int, m: int, named: str) -> bool:
        """Day and month alone, or with a year that is not another's: a visit on the same day of the year may stay."""
        for row in (f"/{d}/{named}/", f"/{named}/{d}/"):
            place = piece.days.find(row)
            while place >= 0:
                end = place + len(row)
                before, after = piece.days[max(0, place - 5) : place], piece.days[end : end + 5]
                if not _YEAR_BEFORE.search(before) and not _YEAR_AFTER.match(after):
                    return True
                place = piece.days.find(row, place + 1)
        return any({int(pair[1]), int(pair[3])} == {d, m} and _is_day(pair) for pair in _PAIR.finditer(piece.text))


def _is_day(pair: re.Match[str]) -> bool:
    """Two figures that are a day and not a measurement: 16/3, 16.03., and 16.3 behind `geb.`."""
    padded = len(pair[1]) == len(pair[3]) == 2
    before = pair.string[max(0, pair.start() - 24) : pair.start()]
    return pair[2] == "/" or (padded and bool(pair[4])) or bool(_SAID.search(before))


@lru_cache(256)  # the staff's names stand in the headers of many patients
def _seekers(known: Identifier) -> list[Callable[[Canonical], bool]]:
    """What looks for one identifier."""
    if known.kind == "NAME":
        return [*_of_ideographs(known.text), *_of_words(known.text)]
    if known.kind == "DATE":
        return [Day(day) for day in dates_of(known.text)]
    if known.kind == "ID":
        return [Figures(number) for number in _numbers(known.text)]
    pieces = [known.text] if known.kind == "EMAIL" else place_pieces(known.text)
    forms = ["".join(sign for sign in letters_of(piece) if sign.isalnum()) for piece in pieces]
    return [Figures(form) for form in forms if len(form) >= 6 or (form and is_ideograph(form[0]) and len(form) >= 3)]


def _numbers(text: str) -> list[str]:
    whole = "".join(sign for sign in letters_of(unicodedata.normalize("NFKC", text)) if sign.isalnum())
    if len(whole) < 2 or (whole.isdigit() and len(whole) < _SHORTEST_NUMBER):
        return []
    digits = re.sub(r"\D", "", whole)
    others = [one for one in (digits, digits.lstrip("0"), *national_numbers(text)) if len(one) >= 6]
    return list(dict.fromkeys([whole, *others]))


def _of_ideographs(text: str) -> Iterator[Ideographs]:
    text = unicodedata.normalize("NFKC", text).translate(SIMPLIFIED)
    rows = ["".join(row) for row in re.findall(r"[^\W\d_]+", text) if any(map(is_ideograph, row))]
    if len(rows) == 1 and 1 < len(rows[0]) < 5:
        cut = 2 if rows[0][:2] in COMPOUND_SURNAMES and len(rows[0]) > 2 else 1
        rows = [rows[0][:cut], rows[0][cut:]]
    whole = [rows[0] + "".join(rows[1:]), "".join(rows[1:]) + rows[0]] if rows else []
    yield from map(Ideographs, dict.fromkeys([*rows, *whole]))


def _of_words(text: str) -> Iterator[Part | Whole | Ideographs]:
    """Every word of a name that may stand for it, and rows of them."""
    text = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text))
    divided = re.split(r"[\^,，]", text)
    components = [re.findall(r"[^\W\d_]+", one) for one in (divided if len(divided) > 1 else text.split())]
    components = [[word for word in words if not any(map(is_ideograph, word))] for words in components]
    components = [kept for words in components if (kept := [one for one in words if letters_of(one) not in TITLES])]
    for words in components:
        names = [word for word in words if letters_of(word) not in PARTICLES] or (words if len(words) == 1 else [])
        for name in names:
            yield from _of_word(name)
        if len(words) > 1:
            yield from _rows(words)
    if len(components) > 1:
        family, given = components[0], components[1]
        for row in (family + given, given + family, family + given[:1], given[:1] + family):
            yield from _rows(row)


def _of_word(name: str) -> Iterator[Part | Ideographs]:
    plain = letters_of(name)
    if len(plain) < 2:
        return
    if plain.upper() == plain:  # a script without capitals: Arabic, Hebrew, kana, Hangul
        yield Ideographs(plain)
        return
    yield Part(name, len(plain) == 2 or plain in FUNCTION_WORDS or plain in PARTICLES or plain in MONTHS)
    syllables = re.findall(r"[A-Z][a-z]+", name)
    if len(syllables) > 1 and "".join(syllables) == name:
        yield from (Part(one, False) for one in syllables if len(one) > 3)


def _rows(words: list[str]) -> Iterator[Whole]:
    plain = [letters_of(word) for word in words]
    everyday = all(word in FUNCTION_WORDS or word in PARTICLES for word in plain)
    if sum(map(len, plain)) >= 4 and not everyday and len(plain) > 1:
        yield Whole("".join(plain))
