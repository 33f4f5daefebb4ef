"""Identifiers: what the hospital's own files say of who a patient is, and every way it may stand in a note.

Case, accents and the sign between the parts of a name do not matter: `Müller-Brandt`, `MULLER BRANDT` and
`Mueller Brandt` are one name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime

from pydicom.dataset import Dataset

from client.data.case import Identifier, Kind

# Parts of names that are also everyday words or titles, and so are sought only together with the rest of the name.
PARTICLES = frozenset(
    re.findall(
        r"\w+",
        "al bin da das de del della den der des di do dos du el ibn la las le los of san st ten ter the van vom von y "
        "zu zum dr prof md phd mr mrs ms miss jr sr ii iii herr frau",
    )
)
# Letters that Unicode does not take apart into a letter and an accent.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}
)
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"}
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


def fold(text: str) -> str:
    """Lower case, without accents; ß is ss. Not of the length of `text`."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in apart if not unicodedata.combining(sign)).translate(_LETTERS)


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
    try:
        value = header.get(keyword)
        if value is None or isinstance(value, Dataset):
            return []
        several = value if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]
        return [str(one) for one in several if not isinstance(one, Dataset)]
    except Exception:
        return []


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


def name_parts(text: str) -> list[str]:
    """Folded parts of a name, with `mueller` beside `muller`; without titles, particles and initials."""
    spelled = text.lower()
    for letter, digraph in _UMLAUTS.items():
        spelled = spelled.replace(letter, digraph)
    parts = [part for form in (text, spelled) for part in re.findall(r"[^\W\d_]+", fold(form))]
    return [part for part in dict.fromkeys(parts) if len(part) > 1 and part not in PARTICLES]


def joined_names(text: str) -> list[str]:
    """Two parts of a name in one word, in either order; and names whose inner sign is left out: `oneill`."""
    parts = name_parts(text)
    pairs = [one + other for one in parts for other in parts if one != other]
    inner = [re.sub(r"[\W\d_]", "", fold(word)) for word in re.split(r"[\s^,]+", text)]
    return [name for name in dict.fromkeys([*pairs, *inner]) if len(name) > 4 and name not in PARTICLES]


def name_runs(text: str) -> list[list[str]]:
    """Letters of each component and each word of a name, where a sign divides them: `van der Berg`, `O'Neill`."""
    pieces = [*re.split(r"[\^,]", text), *re.split(r"[\s^,]+", text)]
    runs = [re.findall(r"[^\W\d_]+", fold(piece)) for piece in pieces]
    return [several for several in runs if len(several) > 1 and len("".join(several)) > 4]


def bounded(part: str) -> bool:
    """Whether a part stands as a word of its own: not so in scripts without upper case (Chinese, Arabic, Hebrew)."""
    return part.upper() != part


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
    shorter = [form for form in (digits, digits.lstrip("0")) if len(form) >= 6]
    return list(dict.fromkeys([whole, *shorter]))


def dates_of(text: str) -> list[date]:
    """The dates that a text may mean: 3/4/1950 is two."""
    found = []
    for form in _DATE_FORMATS:
        try:
            found.append(datetime.strptime(text.strip().split("T")[0].split(" ")[0], form).date())
        except ValueError:
            continue
    return list(dict.fromkeys(found))


def date_forms(day: date) -> list[str]:
    """A day as digits, in the orders and lengths in which notes write it, signs between left out: see `core`."""
    d, m, y = day.day, day.month, day.year
    orders = ((f"{d:02}", f"{m:02}"), (f"{m:02}", f"{d:02}"), (str(d), str(m)), (str(m), str(d)))
    forms = [f"{one}{other}{y}" for one, other in orders] + [f"{y}{m:02}{d:02}"]
    return [form for form in dict.fromkeys(forms) if len(form) >= 8]
