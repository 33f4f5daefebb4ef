"""Rules that find identifiers in free text, after the list of HIPAA's Safe Harbor, 45 CFR 164.514(b)(2)(i)(A)-(R).

Two kinds of rules: what is known of this patient, sought in every spelling, and what looks like an identifier of
anybody. What they find becomes a kind token: [NAME] [DATE] [PHONE] [ID] [EMAIL] [PLACE] [AGE]. Of a date the year
stays, as (C) allows.

Rules, not understanding: a nickname, a misspelt name or a relative's name without a title can pass. That is why notes
are treated as patient data on both sides of the gate, and only sums of what is learned from them leave the site.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from re import Match

from client.data.case import Identifier, Kind
from client.data.identifiers import (
    bounded,
    core,
    date_forms,
    dates_of,
    fold,
    joined_names,
    name_parts,
    name_runs,
    number_cores,
    phrase,
)

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
_NUMBERED = r"(?=(?:[\w/-]*\d){3})[\w/-]+"

# In this order: what a rule has replaced, later rules no longer see. Kind, pattern, and whether case matters.
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, 0 if cased else re.IGNORECASE))
    for kind, pattern, cased in (
        ("EMAIL", r"[\w.+-]+[ ]?(?:@|\(at\)|\[at\])[ ]?[\w-]+(?:\.[\w-]+)+", False),
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
            rf"\b(?:mrn|pid|ssn|nhs|accession|fallnummer|serial)\b[\s.:#=-]*(?:nr|no|number|id)?[\s.:#=]*{_NUMBERED}",
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
        ("PLACE", r"\b[\w-]*(?:stra(?:ß|ss)e|weg|platz|allee|gasse)\s+\d+\s?[a-z]?\b", False),
        ("PLACE", r"\b[A-Z]{2}\s+\d{5}(?:-\d{4})?\b|\b[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}\b|\bD-\d{5}\b", True),
        ("ID", r"(?<!\d)(?<!\d\.)\d{6,}(?!\d)|(?<!\d)\d{3,}(?:[-/]\d{2,}){2,}(?!\d)", False),
    )
)
_TOKEN = re.compile(r"(\[(?:NAME|DATE|PHONE|ID|EMAIL|PLACE|AGE)\])")
_REPEATED = re.compile(_TOKEN.pattern + r"(?:[\s,;.-]*\1)+")  # how many names somebody has tells something too


def scrub(text: str, known: Iterable[Identifier]) -> tuple[str, Counter[str]]:
    """The text with kind tokens in place of identifiers, and how many of each kind were found."""
    found: Counter[str] = Counter()
    seek = _Known.of(known)
    clean = seek.replace(plain_signs(text), found)
    for kind, pattern in _RULES:
        clean = pattern.sub(partial(_token, kind, found), clean)
    clean = seek.replace(clean, found)  # again: a rule may have brought two halves of a number together
    return _REPEATED.sub(r"\1", clean), found


def plain_signs(text: str) -> str:
    """Compatible forms made one (full-width digits, ligatures) and invisible signs left out: they hide words."""
    whole = unicodedata.normalize("NFKC", text)
    return "".join(sign for sign in whole if unicodedata.category(sign) not in {"Cf", "Co", "Cs"} or sign == "\n")


def _token(kind: str, found: Counter[str], match: Match[str]) -> str:
    found[kind] += 1
    year = match.groupdict().get("year")
    return f"[{kind}] {year}" if year else f"[{kind}]"


_WHOLE_FIRST: tuple[Kind, ...] = ("EMAIL", "PLACE", "DATE", "ID", "NAME")  # an address is made of names and numbers


@dataclass(frozen=True, repr=False)
class _Known:
    """Patterns over folded text for what is known of one patient."""

    patterns: tuple[tuple[str, re.Pattern[str]], ...]

    @classmethod
    def of(cls, identifiers: Iterable[Identifier]) -> _Known:
        sought: dict[str, set[str]] = {kind: set() for kind in _WHOLE_FIRST}
        for identifier in identifiers:
            sought[identifier.kind].update(_forms(identifier))
        longest_first = {kind: sorted(forms, key=lambda form: (-len(form), form)) for kind, forms in sought.items()}
        return cls(tuple((kind, re.compile("|".join(forms))) for kind, forms in longest_first.items() if forms))

    def replace(self, text: str, found: Counter[str]) -> str:
        for kind, pattern in self.patterns:
            pieces = _TOKEN.split(text)  # every other piece is a token already: a patient may be called Place
            pieces[::2] = [_replace(piece, pattern, kind, found) for piece in pieces[::2]]
            text = "".join(pieces)
        return text


def _replace(text: str, pattern: re.Pattern[str], kind: str, found: Counter[str]) -> str:
    folded, places = _fold_with_places(text)
    clean, end = [], 0
    for match in pattern.finditer(folded):
        clean += [text[end : places[match.start()]], f"[{kind}]"]
        end = places[match.end()]
        found[kind] += 1
    return "".join([*clean, text[end:]])


def _forms(identifier: Identifier) -> Iterator[str]:
    """Patterns of every form of one identifier, over folded text."""
    if identifier.kind == "NAME":
        for part in {*name_parts(identifier.text), *joined_names(identifier.text)}:
            yield rf"(?<![^\W\d_]){re.escape(part)}(?![^\W\d_])" if bounded(part) else re.escape(part)
        for runs in name_runs(identifier.text):  # with its particles and initials, which alone could be anybody's
            yield r"(?<![^\W\d_])" + r"[\W_]{0,2}".join(map(re.escape, runs)) + r"(?![^\W\d_])"
    elif identifier.kind == "DATE":
        for day in dates_of(identifier.text):
            yield from (_apart(form) for form in date_forms(day))
    elif identifier.kind == "ID":
        yield from (_number(whole) for whole in number_cores(identifier.text))
    else:
        words = phrase(identifier.text).split()
        if len("".join(words)) >= 4:
            yield r"(?<![^\W_])" + r"[\W_]*".join(map(re.escape, words)) + r"(?![^\W_])"


def _number(whole: str) -> str:
    """Long numbers anywhere, with any signs between; short ones as words, since they may be part of a measurement."""
    if len(whole) >= 6:
        return _apart(whole)
    inside = re.escape(whole) if whole.isdigit() else _apart(whole, "?")
    return rf"(?<![^\W_]){inside}(?![^\W_])"


def _apart(whole: str, times: str = "*") -> str:
    return rf"[\W_]{times}".join(map(re.escape, whole))


def _fold_with_places(text: str) -> tuple[str, list[int]]:
    """Folded text, and for each of its signs (and its end) the place in `text`."""
    if text.isascii():
        return text.lower(), list(range(len(text) + 1))
    signs = [(folded, place) for place, sign in enumerate(text) for folded in fold(sign)]
    return "".join(sign for sign, _ in signs), [*(place for _, place in signs), len(text)]


def residue(text: str, known: Iterable[Identifier]) -> set[str]:
    """Kinds of the patient's known identifiers that still stand in a text: a second look, by other means.

    It shares with the search above only what a name or a number consists of: here they are sought among the words as
    a set, and in one run of all letters and digits.
    """
    pieces = [_Piece.of(piece) for piece in _TOKEN.split(text)[::2]]
    sought = [(identifier.kind, _sought(identifier)) for identifier in known]
    return {kind for kind, forms in sought if any(piece.holds(kind, forms) for piece in pieces)}


def _sought(identifier: Identifier) -> list[str]:
    if identifier.kind == "NAME":
        return [*name_parts(identifier.text), *joined_names(identifier.text)]
    if identifier.kind == "DATE":
        return [form for day in dates_of(identifier.text) for form in date_forms(day)]
    if identifier.kind == "ID":
        return number_cores(identifier.text)
    return [f" {phrase(identifier.text)} "] if len(core(identifier.text)) >= 4 else []


@dataclass(frozen=True, repr=False)
class _Piece:
    folded: str
    run: str
    words: tuple[str, ...]
    letters: frozenset[str]

    @classmethod
    def of(cls, text: str) -> _Piece:
        folded = fold(text)
        letters = "".join(sign if sign.isalpha() else " " for sign in folded)
        words = "".join(sign if sign.isalnum() else " " for sign in folded)
        return cls(folded, core(text), tuple(words.split()), frozenset(letters.split()))

    def holds(self, kind: Kind, forms: list[str]) -> bool:
        if kind == "NAME":
            return any(part in (self.letters if bounded(part) else self.folded) for part in forms)
        if kind == "DATE":
            return any(form in self.run for form in forms)
        if kind == "ID":
            return any(form in (self.run if len(form) >= 6 else self.words) for form in forms)
        return any(form in f" {' '.join(self.words)} " for form in forms)
