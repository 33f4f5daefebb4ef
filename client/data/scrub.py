"""Rules that find identifiers in free text, after the list of HIPAA's Safe Harbor, 45 CFR 164.514(b)(2)(i)(A)-(R).

Two kinds of rules: what is known of this patient, sought in every spelling, and what looks like an identifier of
anybody. What they find becomes a kind token: [NAME] [DATE] [PHONE] [ID] [EMAIL] [PLACE] [AGE]. Of a date the year
stays, as (C) allows.

Rules, not understanding: a nickname, a misspelt name or a relative's name without a title can pass. That is why notes
are treated as patient data on both sides of the gate, and only sums of what is learned from them leave the site.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from re import Match

from client.data.case import Identifier, Kind
from client.data.dates import written_days
from client.data.folding import fold, fold_with_places, plain_signs
from client.data.identifiers import date_forms, dates_of, number_cores, phrase, place_pieces
from client.data.ideographs import ORDINARY_IDEOGRAPHIC, is_ideograph
from client.data.names import bounded, forms_of
from client.data.ordinary import AROUND, is_month_here
from client.data.second_look import TOKEN

_MONTHS = (
    r"(?:jan(?:uar[yi]?|vier)?|feb(?:ruar[yi]?)?|f[ée]vr(?:ier)?|mar(?:ch|s|zo)?|m[äa]e?rz|apr(?:il|ile)?|avr(?:il)?|"
    r"(?-i:May|MAY)|mai|mayo|june?|juni?|juin|july?|juli|juill?(?:et)?|aug(?:ust)?|ao[uû]t|sept?(?:ember|embre)?|"
    r"o[ck]t(?:ober|obre)?|nov(?:ember|embre)?|de[cz](?:ember)?|d[ée]c(?:embre)?|"
    r"enero|febrero|abril|junio|julio|agosto|diciembre)"
)
_YEAR = r"(?P<year>(?:19|20)\d\d)"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0?[1-9]|1[0-2])"
_DAY_MONTH = rf"(?:{_DAY}[./]{_MONTH}|{_MONTH}[./]{_DAY})\b\.?(?!\d)"
_PARTICLE = r"(?:van|von|der|den|de|del|da|di|la|le|al|bin|ten|ter|O'|Mc)[ ]?"
_NAME = rf"(?:{_PARTICLE})*[A-ZÀ-ÖØ-ÞĀ-Ž](?:\.|[\w'’-]*)"
_TITLE = (
    r"(?:Dr|Drs|Doctor|Prof|Professor|Mr|Mrs|Ms|Miss|Mx|Sir|Herrn?|Frau|Hr|Mme|Monsieur|Madame|Sra?|Sister|Nurse|"
    r"DR|PROF|MRS|MS|MR(?=\.))\b\.?(?:[ ]+(?:med|Dr|Prof|rer|nat|h\.c)\.)*"
)
_ROLE = (
    r"(?:[Nn]ame|[Pp]atient|[Ss]igned(?: by)?|(?:[Rr]eported|[Dd]ictated|[Rr]eferred|[Rr]eviewed|[Ss]een|[Ee]xamined)"
    r" by|[Cc]c|[Mm]other|[Ff]ather|[Ww]ife|[Hh]usband|[Ss]on|[Dd]aughter|[Bb]rother|[Ss]ister)"
)
_OLD = r"(?:9\d|1[0-4]\d)"
_YEARS = r"(?:years?|yrs?|y/?o|y\.o\.|yo|jahre?|j[äa]e?hrig\w*|ans|anni|a[ñn]os)"
_NUMBERED = r"(?=(?:[\w/-]{0,40}\d){3})[\w/-]+"

# In this order: what a rule has replaced, later rules no longer see. Kind, pattern, and whether case matters. None may
# look at a long row of signs again and again: one patient's note would take a site's day (test_hostile_notes.py).
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, 0 if cased else re.IGNORECASE))
    for kind, pattern, cased in (
        ("EMAIL", r"(?<![\w.+-])[\w.+-]+[ ]?(?:@|\(at\)|\[at\])[ ]?[\w-]+(?:\.[\w-]+)+", False),
        ("ID", r"\b(?:https?://|ftp://|www\.)\S+", False),
        ("ID", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", False),  # an IP address
        (
            "DATE",  # of birth: its year is not kept, since it may tell an age above 89
            r"\b(?:born|dob|birth\s?date|date\s+of\s+birth|geb(?:oren|urtsdatum)?|n[ée]e?|nacid[oa])\b[\s.:,]*"
            rf"(?:(?:on|in|am|im|le|el|the)\s+)?(?:{_DAY}[\s./-]+(?:{_MONTH}|{_MONTHS})[\s./,-]+)?(?:19|20)\d\d"
            rf"(?:[./-]{_MONTH}[./-]{_DAY})?\b",
            False,
        ),
        ("DATE", rf"(?<!\d){_YEAR}(?P<sign>[./-]){_MONTH}(?P=sign){_DAY}(?!\d)", False),
        ("DATE", rf"(?<!\d)(?:{_DAY}|{_MONTH})(?:\.\s?|[/-])(?:{_DAY}|{_MONTH})(?:\.\s?|[/-]){_YEAR}(?!\d)", False),
        ("DATE", rf"(?<!\d)(?<!\d\.){_DAY}(?P<sign>[./-]){_DAY}(?P=sign)\d\d(?![\d.]\d|\d)", False),
        ("DATE", rf"(?<!\d){_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)", False),
        (
            "DATE",
            rf"\b{_DAY}(?:st|nd|rd|th|er|\.)?[\s-]*(?:of\s+|de\s+)?{_MONTHS}\b\.?(?:[,-]?\s*(?:del?\s+)?{_YEAR})?",
            False,
        ),
        ("DATE", rf"\b{_MONTHS}\b\.?\s+{_DAY}(?:st|nd|rd|th)?\b(?:,?\s*{_YEAR})?", False),
        ("DATE", rf"\b{_MONTHS}\b\.?,?\s+(?:of\s+)?{_YEAR}\b", False),
        ("DATE", rf"(?<![\d/.]){_MONTH}[/.]{_YEAR}(?!\d)", False),
        ("DATE", rf"(?:(?<=\bon\s)|(?<=\bam\s)|(?<=\ble\s)){_DAY_MONTH}", False),
        ("DATE", rf"(?:(?<=\bsince\s)|(?<=\buntil\s)){_DAY_MONTH}", False),
        ("ID", r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)", False),  # a social security number
        ("PHONE", r"(?:\+|\b00)\d{1,3}(?:[\s./()-]*\d){6,12}(?!\d)", False),
        ("PHONE", r"(?<!\d)\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}(?!\d)", False),
        (
            "PHONE",
            r"\b(?:tel(?:efon|ephone)?|phone|fon|mobile?|cell|fax|pager|bleep|ext(?:ension)?)\b\.?[\s:#]*(?:no\.?\s*)?"
            r"\d(?:[\s./()-]*\d){2,14}",
            False,
        ),
        ("PHONE", r"(?<!\d)(?<!\d\.)\(?0\d{2,5}\)?[\s/-]+\d{3,}(?:[\s-]\d{2,})*(?!\d)", False),
        ("PHONE", r"(?<![\d.-])\d{3}-\d{4}(?![\d-])", False),
        (
            "ID",
            rf"\b(?:mrn|pid|ssn|nhs|accession|fallnummer|serial)\b[\s.:#=-]*(?:(?:nr|no|number|id)[\s.:#=]*)?{_NUMBERED}",
            False,
        ),
        (
            "ID",
            r"\b(?:acc|case|record|patient(?:en)?|chart|account|policy|fall|device|specimen|sample)"
            rf"[\s-]*(?:nr|no|number|num|nummer|id|#|:)[\s.:#=]*{_NUMBERED}",
            False,
        ),
        ("ID", r"\b[A-Z]{1,5}[-_/]?\d{5,}\b", False),
        ("AGE", rf"\b{_OLD}(?=[\s-]*{_YEARS}\b)", False),
        ("AGE", rf"(?:(?<=\bage\s)|(?<=\baged\s)){_OLD}\b", False),
        ("AGE", rf"(?:(?<=\bage:\s)|(?<=\baged:\s)|(?<=\balter\s)|(?<=\balter:\s)){_OLD}\b", False),
        ("NAME", rf"\b{_TITLE}[ ]+{_NAME}(?:[ ]+{_NAME}){{0,2}}", True),
        ("NAME", rf"\b{_ROLE}[ ]?(?::|,|is)?[ ]+(?:{_NAME}[ ]+{_NAME})", True),
        (
            "PLACE",
            r"\b\d{1,5}[a-z]?\s+(?:[A-Z][\w'’-]+\s+){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|"
            r"Court|Ct|Close|Square|Way)\b\.?",
            True,
        ),
        ("PLACE", r"(?<![\w-])[\w-]*(?:stra(?:ß|ss)e|weg|platz|allee|gasse)\s+\d+\s?[a-z]?\b", False),
        ("PLACE", r"\b[A-Z]{2}\s+\d{5}(?:-\d{4})?\b|\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b|\bD-\d{5}\b", True),
        ("ID", r"(?<!\d)(?<!\d\.)\d{6,}(?!\d)|(?<!\d)\d{3,}(?:[-/]\d{2,}){2,}(?!\d)", False),
    )
)
# What a word processor makes of a hyphen in a day, a number or a name; NFKC has made ‑ the first of them.
_DASH = re.compile(r"(?<=\w)[‐‒–−](?=\w)|(?<=\d)—(?=\d)")
_REPEATED = re.compile(TOKEN.pattern + r"(?:[\s,;.-]*\1)+")  # how many names somebody has tells something too


def scrub(text: str, known: Iterable[Identifier]) -> tuple[str, Counter[str]]:
    """The text with kind tokens in place of identifiers, and how many of each kind were found."""
    found: Counter[str] = Counter()
    plain = _DASH.sub("-", plain_signs(text))
    seek = _Known.of(known, plain)
    clean = seek.replace(plain, found)
    for kind, pattern in _RULES:
        clean = pattern.sub(partial(_token, kind, found), clean)
    clean = seek.replace(clean, found)  # again: a rule may have brought two halves of a number together
    return _REPEATED.sub(r"\1", clean), found


def _token(kind: str, found: Counter[str], match: Match[str]) -> str:
    found[kind] += 1
    year = match.groupdict().get("year")
    return f"[{kind}] {year}" if year else f"[{kind}]"


_LONG = 6  # letters and figures from which a number or an address is sought anywhere
_WHOLE_FIRST: tuple[Kind, ...] = ("EMAIL", "PLACE", "DATE", "ID", "NAME")  # an address is made of names and numbers
_CALLED = re.compile(
    r"(?:^|\W)(?:mr|mrs|ms|miss|dr|herrn?|frau|hr|fr|mme|mlle|m|monsieur|madame|patient(?:in|e)?|pat|name|nom)[\s.:]+$"
)
Allow = Callable[[str, str, re.Match[str], list[int]], bool]  # text, folded text, match in it, places of it in the text


@dataclass(frozen=True, repr=False)
class _Known:
    """What is known of one patient, as patterns over folded text; and the days, which are read and not matched."""

    patterns: tuple[tuple[Kind, re.Pattern[str], Allow], ...]
    runs: tuple[tuple[Kind, str], ...]
    spaced: frozenset[str]
    days: tuple[date, ...]
    beside: re.Pattern[str] | None

    @classmethod
    def of(cls, identifiers: Iterable[Identifier], text: str) -> _Known:
        several = list(identifiers)
        names = [forms_of(one.text) for one in several if one.kind == "NAME"]
        as_name = partial(_as_name, _is_cased(text))
        runs = [(one.kind, form) for one in several for form in _runs(one)]
        sought: list[tuple[Kind, set[str], Allow]] = [
            (kind, {form for one in several if one.kind == kind for form in _forms(one)}, _always)
            for kind in _WHOLE_FIRST
        ]
        sought += [
            ("NAME", set[str]().union(*(name.whole for name in names)), _always),
            ("NAME", set[str]().union(*(name.plain for name in names)), _always),
            ("NAME", set[str]().union(*(name.careful for name in names)), as_name),
            ("NAME", set[str]().union(*(name.signs for name in names)), _in_no_word),
        ]
        letters = "".join(sorted(set[str]().union(*(name.initials for name in names))))
        return cls(
            patterns=tuple((kind, _any_of(forms), allow) for kind, forms, allow in sought if forms),
            runs=tuple(sorted(runs, key=lambda run: (_WHOLE_FIRST.index(run[0]), -len(run[1]), run[1]))),
            spaced=frozenset[str]().union(*(name.words for name in names)),
            days=tuple(day for one in several if one.kind == "DATE" for day in dates_of(one.text)),
            beside=_beside(letters, set[str]().union(*(name.everyday for name in names))),
        )

    def replace(self, text: str, found: Counter[str]) -> str:
        for over_lines in (False, True) if "\n" in text else (False,):
            text = self._between_tokens(text, partial(_replace_runs, self.runs, found))
            text = self._between_tokens(text, partial(_replace_days, self.days, found, over_lines))
            text = self._between_tokens(text, partial(_replace_spaced, self.spaced, found))
            for kind, pattern, allow in self.patterns:
                text = self._between_tokens(text, partial(_replace, pattern, kind, allow, found, over_lines))
        return text if self.beside is None else self.beside.sub("[NAME]", text)

    @staticmethod
    def _between_tokens(text: str, replace: Callable[[str], str]) -> str:
        pieces = TOKEN.split(text)  # every other piece is a token already: a patient may be called Place
        pieces[::2] = [replace(piece) if any(map(str.isalnum, piece)) else piece for piece in pieces[::2]]
        return "".join(pieces)


def _any_of(forms: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(forms, key=lambda form: (-len(form), form))))


def _beside(letters: str, everyday: set[str]) -> re.Pattern[str] | None:
    """What goes beside a name that is gone: the patient's initials, A. [NAME] and [NAME], A.; and an everyday word of
    the name in small letters that ends a clause: [NAME] ng.
    """
    if not letters:
        return None
    wide = "".join(f"{sign.upper()}{_ACCENTED.get(sign, '')}" for sign in letters)
    forms = [
        rf"(?<![^\W_])(?:[{wide}]\.[\s-]*|[{wide}]\s+){{1,3}}\[NAME\]",
        rf"\[NAME\],?\s+(?:[{wide}]\.[\s-]*)+(?!\w)",
    ]
    if everyday:
        forms.append(rf"\[NAME\],?\s+(?:{'|'.join(map(re.escape, sorted(everyday)))})(?=\s*(?:[.,;:)\]\n]|$))")
    return re.compile("|".join(forms))


_ACCENTED = {"a": "ÄÀÁÂÅ", "e": "ÉÈÊË", "i": "ÍÎÏ", "o": "ÖÓÔØ", "u": "ÜÚÛ", "c": "Ç", "z": "Ž", "s": "Š"}


def _replace(
    pattern: re.Pattern[str], kind: str, allow: Allow, found: Counter[str], over_lines: bool, text: str
) -> str:
    folded, places = fold_with_places(text, over_lines=over_lines)
    clean, end, last = [], 0, 0
    for match in pattern.finditer(folded):
        if allow(text, folded, match, places):
            start = _begin_of_word(folded, match, last) if kind == "NAME" else match.start()
            clean += [text[end : max(end, places[start])], f"[{kind}]"]
            end, last = places[match.end()], match.end()
            found[kind] += 1
    return "".join([*clean, text[end:]])


def _begin_of_word(folded: str, match: re.Match[str], last: int) -> int:
    """A long name may be found inside a word: then the whole word goes, from where the `last` one found ends."""
    start = match.start()
    while start > last and bounded(folded[start]) and folded[start - 1].isalpha() and bounded(folded[start - 1]):
        start -= 1
    return start


def _replace_runs(runs: tuple[tuple[Kind, str], ...], found: Counter[str], text: str) -> str:
    folded, places = fold_with_places(text)
    kept = [place for place, sign in enumerate(folded) if sign.isalnum()]
    row, taken, gone = "".join(folded[place] for place in kept), list[tuple[int, int, Kind]](), bytearray(len(kept))
    for kind, form in runs:
        start = row.find(form)
        while start >= 0:
            end = start + len(form)
            if not any(gone[start:end]):
                taken.append((kept[start], kept[end - 1] + 1, kind))
                gone[start:end] = b"\1" * len(form)
            start = row.find(form, start + 1)
    clean, last = [], 0
    for begin, end, kind in sorted(taken):
        clean += [text[last : max(last, places[begin])], f"[{kind}]"]
        last = places[end]
        found[kind] += 1
    return "".join([*clean, text[last:]])


_SPACED = re.compile(r"(?<![^\W\d_])[^\W\d_](?:[^\w\n]{1,3}[^\W\d_])+(?![^\W\d_])")


def _replace_spaced(words: frozenset[str], found: Counter[str], text: str) -> str:
    """Names whose letters stand apart: L E T T E R S."""

    def gone(match: re.Match[str]) -> str:
        letters = fold("".join(filter(str.isalpha, match[0])))
        short = letters in words or (len(letters) > 2 and any(len(word) > 2 and word in letters for word in words))
        found["NAME"] += short
        return "[NAME]" if short else match[0]

    return _SPACED.sub(gone, text)


def _replace_days(days: tuple[date, ...], found: Counter[str], over_lines: bool, text: str) -> str:
    if not days:
        return text
    folded, places = fold_with_places(text, over_lines=over_lines)
    spans = sorted({(one.start, one.end) for one in written_days(folded) if any(map(one.means, days))})
    clean, end = [], 0
    for start, stop in spans:
        if places[start] >= end:
            clean += [text[end : places[start]], "[DATE]"]
            found["DATE"] += 1
        end = max(end, places[stop])
    return "".join([*clean, text[end:]])


def _always(text: str, folded: str, match: re.Match[str], places: list[int]) -> bool:
    return True


def _is_cased(text: str) -> bool:
    """Whether a text is written with capitals, so that their absence says something."""
    return any(word[:1].isupper() and word[1:].islower() for word in re.findall(r"[^\W\d_]{2,}", text))


def _as_name(cased: bool, text: str, folded: str, match: re.Match[str], places: list[int]) -> bool:
    """Whether an everyday word is written as a name: with a capital, or after a title; and not as the month."""
    before, after = folded[max(0, match.start() - AROUND) : match.start()], folded[match.end() : match.end() + AROUND]
    if is_month_here(before, match[0], after):
        return False
    return text[places[match.start()]].isupper() or not cased or bool(_CALLED.search(before))


def _in_no_word(text: str, folded: str, match: re.Match[str], places: list[int]) -> bool:
    """Whether a single ideograph is in no ordinary word: 高 in 高血压 is not the patient."""
    around = "".join(folded[max(0, match.start() - 8) : match.start()].split())
    place, rest = len(around), "".join(folded[match.start() : match.start() + 8].split())
    near = around + rest
    return not any(
        near[start : start + len(word)] == word
        for word in _words_with(match[0])
        for start in range(max(0, place - len(word) + 1), place + 1)
    )


@cache
def _words_with(sign: str) -> tuple[str, ...]:
    return tuple(word for word in ORDINARY_IDEOGRAPHIC if sign in word)


def _runs(identifier: Identifier) -> Iterator[str]:
    """Long forms of one identifier that is no name, in letters and figures: sought whatever stands between."""
    if identifier.kind == "DATE":
        yield from (form for day in dates_of(identifier.text) for form in date_forms(day))
    elif identifier.kind == "ID":
        yield from (form for form in number_cores(identifier.text) if len(form) >= _LONG)
    elif identifier.kind in {"PLACE", "EMAIL"}:
        pieces = place_pieces(identifier.text) if identifier.kind == "PLACE" else [identifier.text]
        for words in (phrase(piece).split() for piece in pieces):
            yield from ("".join(form) for form in ([*words], list(map(_street, words))) if _is_long("".join(form)))


def _is_long(letters: str) -> bool:
    return len(letters) >= (3 if any(map(is_ideograph, letters)) else _LONG)


def _forms(identifier: Identifier) -> Iterator[str]:
    """Patterns of the short forms of one identifier that is no name, over folded text: words by themselves."""
    if identifier.kind == "ID":
        yield from (_number(form) for form in number_cores(identifier.text) if len(form) < _LONG)
    elif identifier.kind in {"PLACE", "EMAIL"}:
        words = phrase(identifier.text).split()
        if 4 <= len("".join(words)) < _LONG and not _is_long("".join(words)):
            yield r"(?<![^\W_])" + r"[\W_]*".join(map(re.escape, words)) + r"(?![^\W_])"


def _street(word: str) -> str:
    """A word of an address in its short form."""
    for long, short in (("strasse", "str"), ("street", "st"), ("road", "rd"), ("avenue", "ave")):
        if word.endswith(long):
            return word.removesuffix(long) + short
    return word


def _number(whole: str) -> str:
    """A short number as a word, since it may be part of a measurement."""
    inside = re.escape(whole) if whole.isdigit() else r"[\W_]?".join(map(re.escape, whole))
    return rf"(?<![^\W_]){inside}(?![^\W_])"
