"""Near: whether a line of a list of opt-outs and a patient's number here are one, though written differently.

A list of opt-outs is typed by people and passes through spreadsheets: numbers lose or gain zeros, become `10000.0` or
`1.23457E+11`, get blanks, quotes, other separators, full-width digits, invisible characters, letters that look like
others, or a remark behind them. Such a line is taken as the patient's: somebody who objected must not be trained on
because of a spreadsheet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from client.data.look_alikes import folded
from client.data.made_days import is_day

LONGEST_NUMBER = 256  # characters of what is tried as a patient's number: the time is bounded
_LONGEST = 64  # characters of a patient's number: LO of DICOM, PS3.5 table 6.2-1
_UNSEEN = {"Cf", "Cc", "Co", "Cs", "Cn"}
_QUOTES = re.compile("[\"'`´‘’‚‛“”„‟«»‹›〝〞「」『』]")
# A word processor makes dashes of a hyphen, and NFKC makes ‑ the first; ー is a letter. The last one is Arabic.
_SIGNS = str.maketrans(dict.fromkeys("‐‒–—―−⁃ー", "-") | {"⁄": "/", "∕": "/", "٫": "."})
# What is not shown though it is no sign of control: Default_Ignorable_Code_Point of Unicode 15, DerivedCoreProperties.
_IGNORABLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_ASCII = dict.fromkeys((*range(32), 127, *b"\"'`")) | {9: " "}  # the same, for a text of ASCII alone
LABEL = re.compile(r"^(?:mrn|pid|id|pat(?:ient)?(?:[\s_-]?(?:id|nr|no))?|nr|no|fall|case)?[\s.:#=_]*(?=\d)")
_NUMBER = re.compile(r"[+]?(\d+)(?:[.,]0*)?")
EXPONENT = re.compile(r"[+]?(\d+)(?:[.,](\d+))?e[+]?(\d{1,2})")


def key(text: str) -> str:
    """What is left of a patient's number once zeros, case, blanks, quotes, `.0` and an exponent are of no account."""
    return key_of(plain(text))


@lru_cache(2**14)  # the words and days of a list stand in many of its lines
def key_of(plain: str) -> str:
    """The key of a text that is plain already."""
    whole = "".join(plain.split())
    if number := _NUMBER.fullmatch(whole):
        return _without_zeros(number[1])
    if (power := EXPONENT.fullmatch(whole)) and (digits := _written_out(power)):
        return digits
    whole = re.sub(r"(?<=\d)[.,]0+$", "", whole)  # a column of text and numbers: `SC/10000.0`
    return re.sub(r"\d+", lambda digits: _without_zeros(digits[0]), whole)


def _without_zeros(digits: str) -> str:
    """As text: Python reads no number of more than 4,300 digits, and a cell may hold any."""
    return digits.lstrip("0") or "0"


def _written_out(power: re.Match[str]) -> str:
    """The digits of a whole number with an exponent, which has at most two figures; "" for one that is not whole."""
    fraction, places = (power[2] or "").rstrip("0"), int(power[3])
    return "" if len(fraction) > places else _without_zeros(power[1] + fraction.ljust(places, "0"))


def plain(text: str) -> str:
    """Compatible forms and dashes made one, unseen characters and quotes left out, digits of every script as 0 to 9."""
    if text.isascii():
        return text.translate(_ASCII).casefold().strip()
    whole = unicodedata.normalize("NFKC", text.replace("\t", " ")).translate(_SIGNS)
    return "".join(map(_plain_sign, whole)).casefold().strip()


@lru_cache(2**14)
def _plain_sign(sign: str) -> str:
    """A figure as 0 to 9, nothing for what is not shown and for a quote, and else the sign itself."""
    if _is_unseen(sign) or _QUOTES.match(sign):
        return ""
    return str(unicodedata.decimal(sign)) if sign.isdecimal() else sign


@lru_cache(2**14)
def _sign_apart(sign: str) -> str:
    """A blank for what is not shown, for a quote and for the mark of a footnote, and else the sign itself."""
    apart = _is_unseen(sign) or unicodedata.category(sign) in {"No", "So"} or _QUOTES.match(sign)
    return " " if apart else sign


def _is_unseen(sign: str) -> bool:
    return unicodedata.category(sign) in _UNSEEN or _IGNORABLE.match(sign) is not None


def forms(text: str) -> Iterable[str]:
    """A text made plain, and as what it looks like."""
    whole = plain(text)
    return (whole, *folded(whole))


def readings(text: str) -> Iterable[str]:
    """The forms of a text, also with a blank for each sign that is left out, or would become a figure, inside of it:
    `10000'10001`, and the mark of a footnote, `10000²`.
    """
    if text.isascii() and text.isprintable() and _QUOTES.search(text) is None:
        return (plain(text),)
    apart = "".join(map(_sign_apart, text))
    return forms(text) if apart == text else dict.fromkeys((*forms(text), *forms(apart)))


def can_be_no_number(text: str) -> bool:
    """Whether no hospital would number a patient so: a sentence, a name, signs only, a number that lost its end."""
    if text.isascii() and text.isdigit():
        return len(text) > _LONGEST
    whole = plain(text)
    if "\ufffd" in text or not any(sign.isalnum() for sign in whole) or len(whole) > _LONGEST:
        return True
    if EXPONENT.fullmatch("".join(whole.split())) and not key(text).isdigit():
        return True
    if re.fullmatch(r"-?\d+[.,]\d*[1-9]\d*|-\d+", whole) or _lost_its_end(whole):
        return True
    if is_day(whole):
        return True
    return len(whole.split()) >= 2 and not any(sign.isdigit() for sign in whole.split()[0])


def _lost_its_end(plain: str) -> bool:
    """Whether a number with an exponent has lost figures: 1.23457E+11 stands for any number that begins so."""
    power = EXPONENT.fullmatch("".join(plain.split()))
    return power is not None and len(power[1] + (power[2] or "")) <= int(power[3]) and int(power[3]) >= 6


def spellings(patient: str) -> set[str]:
    """How earlier exports may have written the number of this patient: what was prepared from them is to go too."""
    number, forms = key(patient), {patient, patient.upper(), patient.lower(), patient.casefold()}
    if number.isdigit():
        forms |= {number.zfill(width) for width in range(len(number), 13)}
        forms |= {f"{form}.0" for form in (number, patient)}
    return forms
