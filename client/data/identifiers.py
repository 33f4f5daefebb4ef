"""Identifiers: what the hospital's own files say of who a patient is, and how numbers and addresses are sought.

How names are sought stands in `client.data.names`, and days in `client.data.dates`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, datetime
from functools import lru_cache

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from client.data.case import Identifier, Kind
from client.data.charsets import readings
from client.data.folding import fold

_DATE_FORMATS = (
    "%Y%m%d",
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
)
_SHORTEST_NUMBER = 4  # a bare number of one to three digits cannot be told from a measurement

# The patient's own attributes and the names of staff, of PS3.15 table E.1-1, with the kind of what they hold.
HEADER_ATTRIBUTES: dict[str, Kind] = {
    "PatientName": "NAME",
    "PatientBirthName": "NAME",
    "PatientMotherBirthName": "NAME",
    "OtherPatientNames": "NAME",
    "ResponsiblePerson": "NAME",
    "ReferringPhysicianName": "NAME",
    "PerformingPhysicianName": "NAME",
    "RequestingPhysician": "NAME",
    "PhysiciansOfRecord": "NAME",
    "NameOfPhysiciansReadingStudy": "NAME",
    "OperatorsName": "NAME",
    "PatientID": "ID",
    "OtherPatientIDs": "ID",
    "AccessionNumber": "ID",
    "StudyID": "ID",
    "AdmissionID": "ID",
    "MedicalRecordLocator": "ID",
    "PatientTelephoneNumbers": "ID",
    "PatientBirthDate": "DATE",
    "PatientAddress": "PLACE",
    "InstitutionName": "PLACE",
    "InstitutionAddress": "PLACE",
}


def of_header(header: Dataset) -> set[Identifier]:
    """Identifiers in a DICOM header; what cannot be read as text is left out."""
    found: set[Identifier] = set()
    for keyword, kind in HEADER_ATTRIBUTES.items():
        for value in _values(header, keyword):
            found.update(identifiers(value, kind))
    for other in _items(header, "OtherPatientIDsSequence"):
        found.update(one for value in _values(other, "PatientID") for one in identifiers(value, "ID"))
    return found


def _values(header: Dataset, keyword: str) -> list[str]:
    """The values of an attribute, in every plausible reading of their bytes."""
    try:
        content = _content(header, keyword)
        value = header.get(keyword)
        if value is None or isinstance(value, Dataset):
            return []
        several = value if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]
        declared = [str(one) for one in several if not isinstance(one, Dataset)]
        if content.isascii() and b"\x1b" not in content:
            return declared
        others = readings(content, "\\".join(declared))[1:]
        return [*declared, *(one for other in others for one in other.split("\\"))]
    except Exception:
        return []


def _content(header: Dataset, keyword: str) -> bytes:
    """The bytes of a value as the file has them; none where the value was never in a file, or has been read before."""
    tag = tag_for_keyword(keyword)
    item = header.get_item(tag) if tag is not None and tag in header else None
    content = item.value if isinstance(item, RawDataElement) else None
    return content if isinstance(content, bytes) else b""


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(header.get(keyword) or [])
    except Exception:
        return []


def of_cell(text: str) -> set[Identifier]:
    """Identifiers in a cell of an identity column, whose kind its own form tells."""
    if "@" in text:
        kind: Kind = "EMAIL"
    elif dates_of(text):
        kind = "DATE"
    elif not any(sign.isdigit() for sign in text):
        kind = "NAME"
    else:
        letters = sum(sign.isalpha() for sign in text)
        kind = "PLACE" if " " in text.strip() and letters > 3 else "ID"
    return set(identifiers(text, kind))


def identifiers(text: str, kind: Kind) -> Iterable[Identifier]:
    """One identifier, or for a DICOM person name one for each of its representations (PS3.5 6.2.1)."""
    texts = text.split("=") if kind == "NAME" else [text]
    return [Identifier(kind, one.strip()) for one in texts if one.strip()]


def core(text: str) -> str:
    """Letters and digits of a number such as `MRN 00-12.34`, folded: `mrn001234`."""
    return "".join(sign for sign in fold(text) if sign.isalnum())


def phrase(text: str) -> str:
    """The words of an address or another phrase, folded, one blank between."""
    return " ".join("".join(sign if sign.isalnum() else " " for sign in fold(text)).split())


def number_cores(text: str) -> list[str]:
    """What to seek for a record or telephone number; nothing if it is too short to tell from a measurement."""
    whole = core(text)
    if len(whole) < 2 or (whole.isdigit() and len(whole) < _SHORTEST_NUMBER):
        return []
    digits = re.sub(r"\D", "", whole)
    shorter = [form for form in (digits, digits.lstrip("0"), *national_numbers(text)) if len(form) >= 6]
    return list(dict.fromkeys([whole, *shorter]))


def national_numbers(text: str) -> list[str]:
    """A telephone number without its country's code, which has one to three figures: +49 551 39 is 551 39 too."""
    if not re.match(r"\s*(?:\+|00)\s*[1-9]", text):
        return []
    digits = re.sub(r"\D", "", text).removeprefix("00")
    return [digits[length:] for length in (1, 2, 3) if len(digits) - length >= 7]


_OF_CITY = "省市区县镇乡村路街道巷弄号室楼"
_PART_OF_CITY = re.compile(rf"(?<![^{_OF_CITY}\W])[^{_OF_CITY}\W]+[{_OF_CITY}]+")


def place_pieces(text: str) -> list[str]:
    """An address and those of its parts that say where somebody lives; of an institution's name only the whole."""
    pieces = [text]
    if any(sign.isdigit() for sign in text):
        pieces += [piece for piece in re.split(r"[,;^\n]", text) if len(core(piece)) >= 5]
    pieces += [piece for piece in _PART_OF_CITY.findall(text) if len(piece) >= 3]
    return list(dict.fromkeys(pieces))


@lru_cache(256)
def dates_of(text: str) -> tuple[date, ...]:
    """The dates that a text may mean: 3/4/1950 is two."""
    found = []
    for form in _DATE_FORMATS:
        try:
            found.append(datetime.strptime(text.strip().split("T")[0].split(" ")[0], form).date())
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def date_forms(day: date) -> list[str]:
    """A day as digits, in the orders and lengths in which notes write it, signs between left out: see `core`."""
    d, m, y = day.day, day.month, day.year
    orders = ((f"{d:02}", f"{m:02}"), (f"{m:02}", f"{d:02}"), (str(d), str(m)), (str(m), str(d)))
    forms = [f"{one}{other}{y}" for one, other in orders] + [f"{y}{m:02}{d:02}"]
    return [form for form in dict.fromkeys(forms) if len(form) >= 8]
