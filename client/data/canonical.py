"""Canonical: the forms of a text in which the second look searches it, none of which the first look knows."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from client.data.ideographs import HAN, ORDINARY_IDEOGRAPHIC, SIMPLIFIED
from client.data.ordinary import MONTHS

LETTERS = rf"[^\W\d_{HAN}]+"
_WORD = re.compile(LETTERS)
# Letters of other scripts that look like Latin ones, and those that are a Latin letter with a stroke.
_ALIKE = str.maketrans("аеорсухіјѕкмтвнαορτυνικ", "aeopcyxijskmtbhaoptuvik")
_STROKES = str.maketrans({"ø": "o", "œ": "o", "æ": "a", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ß": "ss"})
_DIGRAPH = str.maketrans({"ä": "a", "ö": "o", "ü": "u", "å": "a"})
_NUMERALS = dict(zip("〇零○一二三四五六七八九", (0, 0, 0, *range(1, 10)), strict=True))
_LONGEST_WORD = 16  # letters: no everyday word is longer
_LONGEST_NUMERAL = 100  # signs: a longer row is no day, and Python reads no number of more than 4,300
_FILLERS = frozenset(
    "年 日 号 號 of the de den du des der st nd rd th er eme e ten ter le am on vom im born geboren ne nee day".split()
)


@dataclass(frozen=True, repr=False)
class Word:
    """A canonical word; how it was written; and what stood between it and the word before."""

    letters: str
    capital: bool
    gap: str
    start: int


_END = Word("", capital=False, gap="", start=0)


class Canonical:
    """A piece of text in the forms in which it is looked through.

    `cased`: the whole text is written with capitals, so that their absence says something.
    """

    def __init__(self, text: str, *, cased: bool) -> None:
        self.cased = cased
        whole = unicodedata.normalize("NFKC", text)
        self.text = "".join(sign for sign in whole if unicodedata.category(sign) != "Cf")

    @cached_property
    def words(self) -> list[Word]:
        found, end = [], 0
        for match in _WORD.finditer(self.composed):
            written = match[0]
            found.append(Word(written, written[0].isupper(), self.composed[end : match.start()], match.start()))
            end = match.end()
        return found

    @cached_property
    def composed(self) -> str:
        """The text in which `Word.start` is a place."""
        return unicodedata.normalize("NFC", self.text)

    @cached_property
    def lower(self) -> str:
        """The same in lower case, of another length where a letter becomes two: İ."""
        return self.composed.lower()

    @cached_property
    def skeletons(self) -> list[str]:
        return [skeleton(word.letters) for word in self.words]

    @cached_property
    def plain(self) -> list[str]:
        return [letters_of(word.letters) for word in self.words]

    @cached_property
    def joined(self) -> list[tuple[str, str]]:
        """Plain form and skeleton of every two words between which a line ends, or a hyphen or an apostrophe stands."""
        rows = [one.letters + other.letters for one, other in pairwise(self.words) if _goes_on_behind(other.gap)]
        return [(letters_of(row), skeleton(row)) for row in rows]

    @cached_property
    def run(self) -> str:
        """Skeletons of all words in one."""
        return "".join(self.skeletons)

    @cached_property
    def signs(self) -> str:
        """Letters and figures in one."""
        return "".join(sign for sign in letters_of(self.text) if sign.isalnum())

    @cached_property
    def numbers(self) -> str:
        """Figures between signs that are none: /704013/12/."""
        return "/".join(["", *re.findall(r"[^\W_]+", letters_of(self.text)), ""])

    @cached_property
    def spaced(self) -> list[str]:
        """Letters that stand apart, three or more, as one word: L E T T E R S. Whole rows, and how each begins."""
        rows, row = [], list[str]()
        for word in [*self.words, _END]:
            goes_on = not row or re.fullmatch(r"[^\w\n]{1,3}", word.gap)
            if len(word.letters) == 1 and goes_on:
                row.append(letters_of(word.letters))
                continue
            rows += ["".join(row[:length]) for length in range(1, min(len(row), _LONGEST_WORD))] + ["".join(row)]
            row = []
        return [form for one in rows if len(one) >= 2 for form in {one, skeleton(one)}]

    @cached_property
    def together(self) -> str:
        """The text without what may stand between the ideographs of a name."""
        return re.sub(r"[\s·‧・^_=-]", "", letters_of(self.text))

    @cached_property
    def without_ordinary(self) -> str:
        rest = "".join(self.text.translate(SIMPLIFIED).split())
        for word in ORDINARY_IDEOGRAPHIC:
            rest = rest.replace(word, "\0")
        return rest

    @cached_property
    def days(self) -> str:
        """Figures, and months as figures with a mark, in a row: /16/m3/1967/; and with words over lines joined."""
        text = letters_of(self.text)
        joined = re.sub(r"(?<=[a-z])[-‐]?\n\s*(?=[a-z])", "", text)
        return "/".join(["", *_day_row(text), "", *(_day_row(joined) if joined != text else ()), ""])


def _goes_on_behind(gap: str) -> bool:
    return ("\n" in gap or gap in {"-", "‐", "'", "’"}) and len(gap.strip("-‐ \t\r\n")) <= 1


def letters_of(text: str) -> str:
    """Lower case, without accents, homoglyphs as what they look like."""
    apart = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(sign for sign in apart if not unicodedata.combining(sign)).translate(_STROKES)
    plain = plain.translate(SIMPLIFIED)
    return re.sub(r"[^\W\d_]+", lambda word: _of_one_script(word[0]), plain)


def _of_one_script(word: str) -> str:
    return word.translate(_ALIKE) if any("a" <= sign <= "z" for sign in word) else word


@lru_cache(2048)
def skeleton(word: str) -> str:
    """What spellings of a name have in common: Müller, Mueller and Muller are muler. Short words keep more."""
    plain = letters_of(word.lower().translate(_DIGRAPH))
    if len(plain) > 4:
        plain = re.sub(r"([aou])e", r"\1", plain)
    return re.sub(r"(.)\1+", r"\1", plain) if len(plain) >= 6 else plain


def _day_row(text: str) -> list[str]:
    """Figures without zeros, m1 to m12 for months, r1 to r12 for Roman numerals, and the other words as they are."""
    row: list[str] = []
    text = _TENS.sub(lambda tens: f" {_tens(*tens.groups())} ", text)
    for token in re.findall(rf"\d+|[〇零○一二三四五六七八九十廿卅两]+|[年月日号號]|{LETTERS}", text):
        if token in {"月"} and row and row[-1].isdecimal():
            row[-1] = f"m{row[-1]}"
        elif token not in _FILLERS:
            row.append(_token(token))
    return row


def _token(token: str) -> str:
    if token.isdecimal():
        return token.lstrip("0") or "0"
    if len(token) <= _LONGEST_NUMERAL and all(sign in _NUMERALS or sign in "十廿卅两" for sign in token):
        return str(_numeral(token))
    if token in MONTHS:
        return f"m{MONTHS[token]}"
    return f"r{_ROMAN[token]}" if token in _ROMAN else str(_ORDINALS.get(token, token))


_ROMAN = {
    "i": 1,
    "ii": 2,
    "iii": 3,
    "iv": 4,
    "v": 5,
    "vi": 6,
    "vii": 7,
    "viii": 8,
    "ix": 9,
    "x": 10,
    "xi": 11,
    "xii": 12,
}
_ONES = (
    "first second third fourth fifth sixth seventh eighth ninth", "un deux trois quatre cinq six sept huit neuf",
)  # fmt: skip
_ORDINALS = {word: number for words in _ONES for number, word in enumerate(words.split(), start=1)}
_ORDINALS |= {
    word: number
    for words in (
        "tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth",
        "dix onze douze treize quatorze quinze seize dix-sept dix-huit dix-neuf vingt",
    )
    for number, word in enumerate(words.split(), start=10)
}
_ORDINALS |= {"premier": 1, "thirtieth": 30, "trente": 30}
_STEMS = "erst zweit dritt viert funft sechst siebt acht neunt zehnt elft zwolft".split()
_STEMS += [f"{ten}zehnt" for ten in "drei vier funf sech sieb acht neun".split()]
_UNITS = ["", *(f"{one}und" for one in "ein zwei drei vier funf sechs sieben acht neun".split())]
_STEMS += [f"{one}{ten}igst" for ten in ("zwanz", "dreiss") for one in (_UNITS if ten == "zwanz" else _UNITS[:2])]
_ORDINALS |= {f"{stem}e{end}": number for number, stem in enumerate(_STEMS, start=1) for end in ("", "n", "r", "s")}
_TENS = re.compile(rf"\b(twenty|thirty|vingt|trente|dix)[\s-]+(?:et\s+)?({'|'.join(' '.join(_ONES).split())})\b")


def _tens(ten: str, one: str) -> int:
    return {"twenty": 20, "thirty": 30, "vingt": 20, "trente": 30, "dix": 10}[ten] + _ORDINALS[one]


def _numeral(text: str) -> int:
    text = text.replace("廿", "二十").replace("卅", "三十").replace("两", "二")
    if "十" not in text:
        return int("".join(str(_NUMERALS[sign]) for sign in text))
    tens, units = text.split("十", 1)
    first = int("".join(str(_NUMERALS[sign]) for sign in tens)) if tens else 1
    return first * 10 + (int("".join(str(_NUMERALS.get(sign, 0)) for sign in units)) if units else 0)
