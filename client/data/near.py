"""Near: whether a line of a list of opt-outs and a patient's number here are one, though written differently.

A list of opt-outs is typed by people and passes through spreadsheets: numbers lose or gain zeros, become `10000.0` or
`1.23457E+11`, get blanks, quotes, full-width digits, invisible characters, or a remark behind them. Such a line is
taken as the patient's: somebody who objected must not be trained on because of a spreadsheet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal

LONGEST_NUMBER = 256  # characters, before a remark, that are tried as a patient's number: the time is bounded
_LONGEST = 64  # characters of a patient's number: LO of DICOM, PS3.5 table 6.2-1
_UNSEEN = {"Cf", "Cc", "Co", "Cs", "Cn"}
_QUOTES = re.compile("[\"'`´‘’‚‛“”„‟«»‹›〝〞「」『』]")
_LABEL = re.compile(r"^(?:mrn|pid|id|pat(?:ient)?(?:[\s_-]?(?:id|nr|no))?|nr|no|fall|case)?[\s.:#=_]*(?=\d)")
_NUMBER = re.compile(r"[+]?(\d+)(?:[.,]0*)?")
_EXPONENT = re.compile(r"[+]?(\d+)(?:[.,](\d+))?e[+]?(\d{1,2})")
_DIGITS = re.compile("[0-9]+")
_SPREADSHEET_DIGITS = 5  # a spreadsheet shows a long number by at least so many: fewer would be half of all patients
_STRONG, _WEAK = re.compile(r"[;,|:/\\#()\[\]{}<>=*!?\t]"), re.compile(r"[\s._–—-]")
# Behind a blank or a hyphen, which numbers of patients have inside too, only words or a date are a remark.
_REMARK = re.compile(rf"(?=[^\W\d_]{{2}}|\d{{4}}-\d\d|\d\d?[./]\d\d?[./]\d|{_STRONG.pattern})")


def key(text: str) -> str:
    """What is left of a patient's number once zeros, case, blanks, quotes, `.0` and an exponent are of no account."""
    plain = "".join(_plain(text).split())
    if number := _NUMBER.fullmatch(plain):
        return _without_zeros(number[1])
    if (power := _EXPONENT.fullmatch(plain)) and (whole := _written_out(power)):
        return whole
    whole = re.sub(r"(?<=\d)[.,]0+$", "", plain)  # a column of text and numbers: `SC/10000.0`
    return re.sub(r"\d+", lambda digits: _without_zeros(digits[0]), whole)


def _without_zeros(digits: str) -> str:
    """As text: Python reads no number of more than 4,300 digits, and a cell may hold any."""
    return digits.lstrip("0") or "0"


def _written_out(power: re.Match[str]) -> str:
    """The digits of a whole number with an exponent, which has at most two figures; "" for one that is not whole."""
    fraction, places = (power[2] or "").rstrip("0"), int(power[3])
    return "" if len(fraction) > places else _without_zeros(power[1] + fraction.ljust(places, "0"))


def _plain(text: str) -> str:
    """Compatible forms made one, invisible characters and quotes left out, digits of every script as 0 to 9."""
    whole = unicodedata.normalize("NFKC", text.replace("\t", " "))
    seen = "".join(sign for sign in whole if unicodedata.category(sign) not in _UNSEEN)
    digits = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in seen)
    return _QUOTES.sub("", digits).casefold().strip()


def without_remarks(text: str) -> Iterator[str]:
    """What a line may mean by its number: itself, without a label before it, and what stands before a remark: `10000`
    of `10000;opted out`, the longest first.
    """
    plain = _plain(text)
    yield text
    if (bare := _LABEL.sub("", plain)) != plain:
        yield bare
        plain = bare
    remark = max((found.start() for found in _REMARK.finditer(plain)), default=-1)  # where the last one begins
    for place in range(min(len(plain) - 1, LONGEST_NUMBER), 0, -1):
        if _STRONG.match(plain[place]) or (_WEAK.match(plain[place]) and place < remark):
            yield plain[:place]


def shown_short(text: str, patients: Iterable[str]) -> set[str]:
    """The patients whose numbers a spreadsheet shows as this line does: 123456789012 as 1.23457E+11."""
    power = _EXPONENT.fullmatch("".join(_plain(text).split()))
    if power is None or len(power[1] + (power[2] or "")) < _SPREADSHEET_DIGITS:
        return set()
    value, places = Decimal(f"{power[1]}.{power[2] or 0}e{power[3]}"), len(power[2] or "")
    half, longest = Decimal(10) ** (int(power[3]) - places), len(power[1]) + int(power[3]) + 1
    return {
        patient
        for patient in patients
        if _DIGITS.fullmatch(number := key(patient))  # not `isdigit`: some scripts have figures that are no digits
        and len(number) <= longest
        and abs(Decimal(number) - value) < half  # rounded, or cut off
    }


def can_be_no_number(text: str) -> bool:
    """Whether no hospital would number a patient so: a sentence, a name, signs only, a number that lost its end."""
    plain = _plain(text)
    if "\ufffd" in text or not any(sign.isalnum() for sign in plain) or len(plain) > _LONGEST:
        return True
    if _EXPONENT.fullmatch("".join(plain.split())) and not key(text).isdigit():
        return True
    if re.fullmatch(r"-?\d+[.,]\d*[1-9]\d*|-\d+", plain) or _lost_its_end(plain):
        return True
    return len(plain.split()) >= 2 and not any(sign.isdigit() for sign in plain.split()[0])


def _lost_its_end(plain: str) -> bool:
    """1.23457E+11 is exact as a number, but stands for any that begins so."""
    power = _EXPONENT.fullmatch("".join(plain.split()))
    return power is not None and len(power[1] + (power[2] or "")) <= int(power[3]) and int(power[3]) >= 6


def spellings(patient: str) -> set[str]:
    """How earlier exports may have written the number of this patient: what was prepared from them is to go too."""
    number, forms = key(patient), {patient, patient.upper(), patient.lower(), patient.casefold()}
    if number.isdigit():
        forms |= {number.zfill(width) for width in range(len(number), 13)}
        forms |= {f"{form}.0" for form in (number, patient)}
    return forms
