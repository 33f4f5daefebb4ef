"""A small hospital's folder, as an export would leave it: DICOM, tables, notes, and who the patients are."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from client.site import SiteFolder, read_site
from common.study import Study, parse_study

SITE = "north"
_NAMES = ("Zbigniew", "Annegret", "Þorvaldur", "Chidiebere", "Mairéad", "Xiulan", "Iðunn", "Wolfgang")
_FAMILIES = ("Brzęczyszczykiewicz", "Müller-Lüdenscheidt", "Okonkwo", "O'Shaughnessy", "Vandenbroucke", "Quispe")

STUDY: dict[str, Any] = {
    "study": "demo",
    "rounds": 1,
    "training": {"local_steps": 2},  # of a hundred tests that train, few ask for how long
    "task": {"kind": "binary", "classes": ["alive", "dead"]},
    "modalities": {
        "xray": {"kind": "image", "size": 16},
        "labs": {
            "kind": "record",
            "normalise": "secure_sum",
            "numeric": {"crp": {"low": 0, "high": 300}, "pulse": {"low": 20, "high": 220}},
            "categorical": {"sex": ["f", "m"]},
        },
        "report": {"kind": "note", "max_tokens": 24},
        "genes": {"kind": "sequence", "genes": ["TP53", "EGFR", "PTEN"], "normalise": "secure_sum"},
    },
}


@dataclass(frozen=True)
class Person:
    """A made-up patient and all that identifies it."""

    patient: str
    given: str
    family: str
    birth: str  # YYYYMMDD
    phone: str
    email: str

    @property
    def secrets(self) -> list[str]:
        """What must be found nowhere behind the gate."""
        return [self.patient, self.given, self.family, self.birth, self.phone, self.email]


def person(number: int) -> Person:
    """The same person for the same number; all different."""
    given, family = _NAMES[number % len(_NAMES)], f"{_FAMILIES[number % len(_FAMILIES)]}"
    birth = f"{1931 + number % 60}{1 + number % 12:02}{1 + number % 28:02}"
    return Person(
        f"MRN-{7040000 + 13 * number}", given, family, birth, f"+49 551 {3940000 + number}", f"p{number}@post.example"
    )


def study_of(changes: Mapping[str, Any] | None = None, modalities: Sequence[str] | None = None) -> Study:
    """The study of these hospitals, with top-level keys changed and only some modalities kept."""
    content = STUDY | dict(changes or {})
    if modalities is not None:
        content = content | {"modalities": {name: content["modalities"][name] for name in modalities}}
    return parse_study(yaml.safe_dump(content, sort_keys=False))


def write_dicom(path: Path, pixels: NDArray[Any], **attributes: Any) -> Dataset:
    """Write pixels (rows, columns), (frames, rows, columns) or (rows, columns, 3) with the attributes given."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Modality, data.SeriesInstanceUID = "CR", "1.2.3"
    colour = pixels.ndim == 3 and pixels.shape[2] == 3
    data.Rows, data.Columns = pixels.shape[:2] if colour or pixels.ndim == 2 else pixels.shape[1:]
    if pixels.ndim == 3 and not colour:
        data.NumberOfFrames = pixels.shape[0]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    if "BitsStored" in attributes:
        data.HighBit = data.BitsStored - 1
    else:
        data.HighBit = data.BitsAllocated - 1
    data.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return data


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    several = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(several[0]))
        writer.writeheader()
        writer.writerows(several)


def note_of(one: Person, rng: np.random.Generator) -> str:
    """A note with everything in it that must not pass."""
    day = f"{one.birth[6:]}.{one.birth[4:6]}.{one.birth[:4]}"
    return (
        f"{one.family.upper()}, {one.given} (born {day}, {one.patient}, tel. {one.phone}, {one.email}) was seen on 14 "
        f"March 2021 by Dr. Ulrike Sandermann. Aged 93. Pain {rng.choice(['left', 'right'])}, CRP 12.5, BP 120/80.\n"
        f"{one.given} {one.family} went home."
    )


def hospital(root: Path, patients: int = 16, first: int = 0, site: Mapping[str, Any] | None = None) -> SiteFolder:
    """Write a hospital of `patients` people; about every third lacks images, every fourth a note, some have gaps."""
    rng = np.random.default_rng(1000 + first)
    everybody = [person(first + number) for number in range(patients)]
    table, notes, genes, who = [], [], [], []
    for number, one in enumerate(everybody):
        dead = number % 2
        if number % 3 != 2:
            shape = (20 + number % 5, 24)
            pixels = (rng.integers(0, 3000, shape) + 800 * dead).astype(np.uint16)
            write_dicom(
                root / "images" / f"{one.family}_{one.given}_{number}" / "IM0001",
                pixels,
                BitsStored=12,
                PatientID=one.patient,
                PatientName=f"{one.family}^{one.given}",
                PatientBirthDate=one.birth,
                PatientTelephoneNumbers=one.phone,
                SpecificCharacterSet="ISO_IR 192",
            )
        table.append(
            {
                "patient_id": one.patient,
                "outcome": ["alive", "dead"][dead],
                "CRP (mg/l)": "?" if number % 5 == 4 else round(float(rng.uniform(1, 200)), 1),
                "pulse": int(rng.integers(50, 140)),
                "sex": rng.choice(["W", "M"]),
            }
        )
        if number % 4 != 3:
            notes.append({"patient_id": one.patient, "text": note_of(one, rng)})
        genes.append(
            {"patient_id": one.patient, **{gene: round(float(rng.normal()), 3) for gene in ("PTEN", "TP53", "EGFR")}}
        )
        who.append(
            {"patient_id": one.patient, "name": f"{one.given} {one.family}", "mail": one.email, "birth": one.birth}
        )
    write_csv(root / "records.csv", table)
    write_csv(root / "notes.csv", notes)
    write_csv(root / "genes.csv", genes)
    write_csv(root / "patients.csv", who)
    return write_site(root, site)


def write_site(root: Path, changes: Mapping[str, Any] | None = None) -> SiteFolder:
    """Write site.yaml with top-level keys changed (None: left out), and read it as the product does."""
    labs = {
        "file": "records.csv",
        "columns": {"crp": "CRP (mg/l)"},
        "values": {"sex": {"W": "f", "M": "m"}},
    }
    content: dict[str, Any] = {
        "site": SITE,
        "target": {"file": "records.csv", "column": "outcome"},
        "images": {"xray": {"folder": "images"}},
        "records": {"labs": labs},
        "notes": {"report": {"file": "notes.csv"}},
        "sequences": {"genes": {"file": "genes.csv"}},
        "identity": [{"file": "patients.csv", "columns": ["name", "mail", "birth"]}],
    }
    kept = {key: value for key, value in (content | dict(changes or {})).items() if value is not None}
    kept["policy"] = {"require_privacy": False} | kept.get("policy", {})  # STUDY has none
    (root / "site.yaml").write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return read_site(root)
