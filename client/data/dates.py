"""Days as notes write them: figures in any order, names of months, words, Roman and Chinese numerals, with or without
a year. `written_days` finds what may be a day and says which; whether it is a known one is for the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from client.data.ideographs import HAN
from client.data.ordinary import MONTHS

_ROMAN = {word: number for number, word in enumerate("i ii iii iv v vi vii viii ix x xi xii".split(), start=1)}
_ENGLISH = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
_ENGLISH += "fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
_GERMAN = "erste zweite dritte vierte funfte sechste siebte achte neunte zehnte elfte zwolfte dreizehnte vierzehnte "
_GERMAN += "funfzehnte sechzehnte siebzehnte achtzehnte neunzehnte zwanzigste"
_FRENCH = "un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dix-sept dix-huit "
_FRENCH += "dix-neuf vingt"
_ONES = "ein zwei drei vier funf sechs sieben acht neun".split()
_HAN = {sign: number for number, sign in enumerate("〇一二三四五六七八九")} | {"零": 0, "○": 0, "两": 2, "o": 0}


def _words() -> dict[str, int]:
    """Folded words for the days of a month; German with the endings of its cases."""
    english, french = _ENGLISH.split(), _FRENCH.split()
    found = {word: number for number, word in enumerate(english, start=1)}
    found |= {f"twenty {word}": 20 + number for number, word in enumerate(english[:9], start=1)}
    found |= {"thirtieth": 30, "thirty first": 31, "premier": 1}
    found |= {word.replace("-", " "): number for number, word in enumerate(french, start=1) if number > 1}
    found |= {f"vingt {word}": 20 + number for number, word in enumerate(french[:9], start=1) if number > 1}
    found |= {"vingt et un": 21, "trente": 30, "trente et un": 31}
    german = {word: number for number, word in enumerate(_GERMAN.split(), start=1)}
    german |= {f"{one}undzwanzigste": 20 + number for number, one in enumerate(_ONES, start=1)}
    german |= {"siebente": 7, "dreissigste": 30, "einunddreissigste": 31}
    german |= {word.replace("funf", "fuenf").replace("zwolf", "zwoelf"): number for word, number in german.items()}
    return found | {f"{word}{end}": number for word, number in german.items() for end in ("", "n", "r", "s")}


DAY_WORDS = _words()


@dataclass(frozen=True, repr=False)
class Written:
    """What may be a day at [start, end) of a folded text; `year` None where none stands there, or two figures of it."""

    start: int
    end: int
    day: int
    month: int
    year: int | None

    def means(self, known: date) -> bool:
        """Whether it is this day, as far as it says."""
        year = self.year is None or self.year in {known.year, known.year % 100}
        return (self.day, self.month) == (known.day, known.month) and year


# What may stand between the parts is what the second look passes over: `April.-.12`, `12 | am | 04`, `0012th of May`.
_D = r"0{0,6}\d{1,2}"
_SPELLED = "|".join(re.escape(word).replace(r"\ ", r"[\s-]+") for word in sorted(DAY_WORDS, key=len, reverse=True))
_SPELLED = rf"(?<![^\W\d_{HAN}])(?:{_SPELLED})"
_DAY = rf"(?P<day>(?<!\d){_D}(?!\d)|{_SPELLED})(?:\s?(?:st|nd|rd|th|ter|ten|er|eme|e)\b)?"
_FILLERS = "of|the|den|der|de|du|des|day|le|am|on|vom|im|born|geboren|nee|ne"
_BETWEEN = rf"[\W_]{{0,24}}(?:(?:{_FILLERS})(?![^\W\d_])[\W_]{{0,24}})*"
_BETWEEN_FIGURES = rf"(?=[\W_]){_BETWEEN}"
_NAMED = rf"(?P<month>{'|'.join(sorted(MONTHS, key=len, reverse=True))})(?![^\W\d_{HAN}])"
_YEAR = r"(?:[\s.,/'’-]*(?:of\s+|de\s+)?(?P<year>\d{4}|\d{2})(?![\d]))"
_NUMERAL = "[〇零○一二三四五六七八九十廿卅两]"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?<!\d)(?P<a>0{{0,6}}\d{{1,4}}){_BETWEEN_FIGURES}(?P<b>{_D}){_BETWEEN_FIGURES}(?P<c>0{{0,6}}\d{{1,4}})(?!\d)",
        rf"{_DAY}{_BETWEEN}{_NAMED}{_YEAR}?",
        rf"(?<![^\W\d_{HAN}]){_NAMED}{_BETWEEN}{_DAY}{_YEAR}?",
        rf"(?<!\d)(?P<year>\d{{4}}){_BETWEEN}{_NAMED}{_BETWEEN}{_DAY}",
        rf"(?<!\d)(?P<day>{_D}){_BETWEEN_FIGURES}(?P<roman>[ivx]{{1,4}}){_BETWEEN_FIGURES}(?P<year>\d{{4}}|\d{{2}})(?!\d)",
        rf"(?:(?P<year>\d{{2,4}}|{_NUMERAL}{{2,4}})\s*年\s*)?(?P<han>\d{{1,2}}|{_NUMERAL}{{1,2}})\s*月\s*"
        rf"(?:份\s*)?(?P<day>\d{{1,2}}|{_NUMERAL}{{1,3}})\s*[日号號]?",
        r"(?<!\d)(?P<long>\d{8}|\d{6})(?!\d)",
        rf"(?<![\d.,/])(?P<m>{_D})(?P<sign>[./-])\s?(?P<d>{_D})(?P<end>\.?)(?![\d/%]|[.,]\d|-\d)",
    )
)
_CONTEXT = re.compile(
    r"\b(?:born|birth\w*|dob|b\.?day|geb\.?|geboren|geburtstag|geburtsdatum|nee?|naissance|anniversaire|on|am|le|vom|"
    r"den|seit|since|until)\b[\s.:,(*]*$|[*]\s*$"
)


def written_days(folded: str) -> Iterator[Written]:
    """Everything in a folded text that may be a day, in each way that it may be read."""
    for pattern in _PATTERNS:
        place = 0
        while found := pattern.search(folded, place):
            place = found.start() + 1  # the next may overlap: in `1 16/3/67` the first three figures are no day
            for day, month, year in _readings(found, folded):
                if 1 <= month <= 12 and 1 <= day <= 31:
                    yield Written(found.start(), found.end(), day, month, year)


def _readings(found: re.Match[str], folded: str) -> Iterator[tuple[int, int, int | None]]:
    """(day, month, year or None), as the parts of a match may be meant."""
    parts = {name: text for name, text in found.groupdict().items() if text}
    if "long" in parts:
        yield from _without_signs(parts["long"])
    elif "c" in parts:
        yield from _in_any_order(parts["a"], parts["b"], parts["c"])
    elif "sign" in parts:
        yield from _two_figures(parts, _CONTEXT.search(folded[max(0, found.start() - 24) : found.start()]) is not None)
    else:
        day = DAY_WORDS.get(re.sub(r"[\s-]+", " ", parts["day"])) or number(parts["day"])
        month = MONTHS.get(parts.get("month", "")) or _ROMAN.get(parts.get("roman", "")) or number(parts.get("han", ""))
        year = _digits(parts["year"]) if "year" in parts else None
        yield day, month, year
        if year is not None and not 1900 <= year < 2100 and "roman" not in parts:
            yield day, month, None  # other figures behind `April 12` need be no year, and the second look takes none


def _in_any_order(a: str, b: str, c: str) -> Iterator[tuple[int, int, int | None]]:
    one, two, three = int(a), int(b), int(c)
    if len(c) == 2 or three >= 1000:
        yield from ((one, two, three), (two, one, three))
    if len(a) == 2 or one >= 1000:
        yield from ((three, two, one), (two, three, one))


def _without_signs(text: str) -> Iterator[tuple[int, int, int | None]]:
    pairs = [int(text[place : place + 2]) for place in range(0, len(text), 2)]
    if len(pairs) == 3:
        yield from ((pairs[2], pairs[1], pairs[0]), (pairs[0], pairs[1], pairs[2]), (pairs[1], pairs[0], pairs[2]))
    else:
        first, last = int(text[:4]), int(text[4:])
        yield from ((pairs[3], pairs[2], first), (pairs[0], pairs[1], last), (pairs[1], pairs[0], last))


def _two_figures(parts: dict[str, str], said: bool) -> Iterator[tuple[int, int, None]]:
    """A day and a month without a year: 16/3, 16.03., 16-03. `16.3` is a measurement, unless words before say so."""
    one, two, sign = parts["m"], parts["d"], parts["sign"]
    padded = len(one) == len(two) == 2
    if sign == "/" or padded or said or (sign == "." and parts.get("end")):
        yield int(one), int(two), None
        yield int(two), int(one), None


def number(text: str) -> int:
    """A figure or a Chinese numeral below 100; 0 for what is neither."""
    if text.isdecimal():
        return int(text)
    text = text.replace("廿", "二十").replace("卅", "三十")
    tens, ten, units = text.rpartition("十")
    if not ten:
        return _HAN.get(text, 0) if len(text) == 1 else 0
    return (_HAN.get(tens, 1) if tens else 1) * 10 + (_HAN.get(units, 0) if units else 0)


def _digits(text: str) -> int:
    return int(text) if text.isdecimal() else int("".join(str(_HAN.get(sign, 0)) for sign in text))
