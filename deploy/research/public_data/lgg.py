"""TCGA lower-grade glioma: five real hospitals, MRI, clinical record, mutations, chromosome arms and expression.

The task is death within 36 months of diagnosis. Patients who left before 36 months without dying have no label and are
left out; so are hospitals with fewer than ten labelled patients. Most patients have no MRI, as in life.

Where to get it: the clinical table, mutations, arm calls and survival of "Brain Lower Grade Glioma (TCGA, PanCancer
Atlas)" come from cBioPortal; expression (500 genes by Ensembl number, log2 with 0.001 added) from TCGA-LGG's RNA
sequencing; and the FLAIR slices from "LGG Segmentation Dataset" on Kaggle (Buda, Saha and Mazurowski 2019), made of
TCGA-LGG in The Cancer Imaging Archive. DIR holds them as patients.csv (one row a patient), expression.csv (patient_id,
then a column a gene), slices.csv (patient_id, position, image_file) and the slices as 8-bit PNG.

TCGA's open-access tables are free to use with the acknowledgement that its policy asks for; the slices are CC BY-NC-SA
4.0: non-commercial, share alike. The PNGs are wrapped as DICOM, and each file says so in ImageComments.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from client.site import SiteFile
from common.errors import DataError, SiteFileError, StudyError
from common.schema import WIDELY_READ
from common.secure_sum.thresholds import smallest_threshold
from common.study import Study
from deploy.research.folders import made_whole, write_table, write_yaml
from deploy.research.public_data.lgg_columns import ARMS, CATEGORICAL, CLINICAL, MUTATIONS, NUMERIC
from deploy.research.public_data.split import folds
from deploy.research.public_data.wrap import wrap

MONTHS = 36.0
LEAST = 10  # labelled patients of a hospital
FOLDS = 5
_PLAIN = re.compile(r"[A-Za-z0-9-]+")
# Places along the head, 0 to 1, the same for everybody: where the tumour is must not choose the slices.
PLACES = (0.3, 0.4, 0.5, 0.6, 0.7)


@dataclass(frozen=True)
class Patient:
    """One labelled patient: the row of patients.csv, the cells of expression.csv, and the pictures by place."""

    row: Mapping[str, str] = field(repr=False)
    died: bool = field(repr=False)
    expression: Sequence[str] = field(repr=False)
    pictures: Sequence[Path] = field(repr=False)

    @property
    def number(self) -> str:
        return self.row["patient_id"]

    @property
    def hospital(self) -> str:
        return self.row["site"].lower()


def lgg(source: Path, out: Path, *, fold: int = 0, seed: int = 0) -> list[Path]:
    """Turn the public data in `source` into hospital folders and study.yaml under `out`; return the folders.

    The five folds are drawn by `seed`, evenly over hospitals and outcomes. `fold` is for testing and the one after it
    for validation; `seed` is the study's as well. Raises DataError naming the file that is missing or not as described,
    StudyError for a fold that is none, RunError if `out` is not empty.
    """
    if not 0 <= fold < FOLDS:
        raise StudyError(f"fold: {fold} is not one of the folds 0 to {FOLDS - 1}.")
    genes, found = _patients(source)
    parts = folds([(patient.hospital, patient.died) for patient in found], FOLDS, seed)
    hospitals = sorted({patient.hospital for patient in found})
    with made_whole(out) as folder:
        for hospital in hospitals:
            here = [(patient, part) for patient, part in zip(found, parts, strict=True) if patient.hospital == hospital]
            _write_hospital(folder / hospital, hospital, here, genes)
        text = "Death within 36 months of a lower-grade glioma, from five modalities of public data."
        write_yaml(folder / "study.yaml", text, _study(genes, len(hospitals), fold, seed), Study, StudyError)
    return [out / hospital for hospital in hospitals]


# ------------------------------------------------------------------------------------------------- reading


def _patients(source: Path) -> tuple[list[str], list[Patient]]:
    """The genes, and the labelled patients of hospitals with enough of them, in the table's order."""
    _, rows = _read(source / "patients.csv", ["patient_id", "site", "os_months", "os_event", *_wanted()])
    _require_plain_names(source / "patients.csv", rows)
    header, expression = _read(source / "expression.csv", ["patient_id"])
    genes = [name for name in header if name != "patient_id"]
    by_patient = {row["patient_id"]: [row[gene] for gene in genes] for row in expression}
    pictures = _pictures(source)
    labelled = [(row, died) for row in rows if (died := _died(source, row)) is not None]
    enough = {site for site, count in Counter(row["site"] for row, _ in labelled).items() if count >= LEAST}
    return genes, [
        Patient(row, died, by_patient.get(row["patient_id"], []), pictures.get(row["patient_id"], []))
        for row, died in labelled
        if row["site"] in enough
    ]


def _require_plain_names(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Patients and hospitals become names of folders: they must be nothing else, and each patient one row."""
    odd = sum(not (_PLAIN.fullmatch(row["patient_id"] or "") and _PLAIN.fullmatch(row["site"] or "")) for row in rows)
    if odd:
        raise DataError(f"{path}: patient_id or site is more than letters, digits and '-' in {odd} rows.")
    if len({row["patient_id"] for row in rows}) < len(rows):
        raise DataError(f"{path}: some patient_id has several rows. Keep one row a patient.")


def _wanted() -> list[str]:
    return [*CLINICAL, *(f"mut_{gene}" for gene in MUTATIONS), *(f"cna_{arm}" for arm in ARMS)]


def _read(path: Path, columns: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header, rows = list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error):
        raise DataError(
            f"{path}: cannot be read as a CSV file. See deploy/research/public_data/lgg.py for where the data is from."
        ) from None
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path}: has no column {', '.join(missing)}. See deploy/research/public_data/lgg.py for what it holds."
        )
    return header, rows


def _died(source: Path, row: Mapping[str, str]) -> bool | None:
    """Within 36 months; None where nobody knows."""
    if not row["os_months"]:
        return None
    months = _number(source / "patients.csv", "os_months", row["os_months"])
    event = _number(source / "patients.csv", "os_event", row["os_event"]) if row["os_event"] else None
    if months > MONTHS:
        return False
    return True if event == 1 else None


def _number(path: Path, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except (ValueError, TypeError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: {column} is not a number in some row.")
    return value


def _pictures(source: Path) -> dict[str, list[Path]]:
    """For each patient with MRI the pictures nearest to PLACES, without repeats, in the head's order."""
    _, rows = _read(source / "slices.csv", ["patient_id", "position", "image_file"])
    stacks: dict[str, list[tuple[float, Path]]] = {}
    for row in rows:
        place = _number(source / "slices.csv", "position", row["position"])
        stacks.setdefault(row["patient_id"], []).append((place, source / (row["image_file"] or "")))
    return {patient: [stack[place][1] for place in _nearest(stack)] for patient, stack in stacks.items()}


def _nearest(stack: list[tuple[float, Path]]) -> list[int]:
    stack.sort()
    positions = np.array([position for position, _ in stack])
    return sorted({int(np.abs(positions - place).argmin()) for place in PLACES})


# ------------------------------------------------------------------------------------------------- writing


def _write_hospital(folder: Path, hospital: str, here: Sequence[tuple[Patient, int]], genes: Sequence[str]) -> None:
    (folder / "mri").mkdir(parents=True)
    patients = [patient for patient, _ in here]
    outcome = ([patient.number, "yes" if patient.died else "no", str(part)] for patient, part in here)
    write_table(folder / "outcome.csv", ["patient_id", "died_36m", "fold"], outcome)
    _columns(folder / "clinical.csv", patients, {name: name for name in CLINICAL})
    _columns(folder / "mutations.csv", patients, {gene: f"mut_{gene}" for gene in MUTATIONS})
    _columns(folder / "arms.csv", patients, {arm: f"cna_{arm}" for arm in ARMS})
    with_rna = ([patient.number, *patient.expression] for patient in patients if patient.expression)
    write_table(folder / "expression.csv", ["patient_id", *genes], with_rna)
    for patient in patients:
        _write_pictures(folder / "mri", patient)
    pictured = any(patient.pictures for patient in patients)
    if not pictured:
        (folder / "mri").rmdir()
    text = "Public data (TCGA-LGG), as a hospital would describe its own. The MRI are PNGs wrapped as DICOM."
    write_yaml(folder / "site.yaml", text, _site(hospital, pictured), SiteFile, SiteFileError)


def _columns(path: Path, patients: Sequence[Patient], columns: Mapping[str, str]) -> None:
    """A table with the columns' new names; a patient of whom nothing is known has no row."""
    rows = ([patient.number, *(patient.row[column] for column in columns.values())] for patient in patients)
    write_table(path, ["patient_id", *columns], (row for row in rows if any(row[1:])))


def _write_pictures(folder: Path, patient: Patient) -> None:
    for number, picture in enumerate(patient.pictures, start=1):
        target = folder / patient.number / f"{number:02d}.dcm"
        target.parent.mkdir(exist_ok=True)
        wrap(picture, target, patient=patient.number, series="FLAIR", number=number, modality="MR", what="TCGA-LGG")


def _site(hospital: str, pictured: bool) -> dict[str, Any]:
    tables = {"mutations": "mutations.csv", "arms": "arms.csv", "rna": "expression.csv"}
    return {
        "schema": WIDELY_READ,
        "site": hospital,
        "target": {"file": "outcome.csv", "column": "died_36m", "values": {"no": "survived", "yes": "died"}},
        **({"images": {"mri": {"folder": "mri"}}} if pictured else {}),
        "records": {"clinical": {"file": "clinical.csv"}},
        "sequences": {name: {"file": file} for name, file in tables.items()},
        "split": {"file": "outcome.csv", "column": "fold"},
        # The study has no privacy; and of small hospitals no part of fewer than 10 patients would be scored.
        "policy": {"require_privacy": False, "without_privacy": {"smallest_part": 1}},
    }


def _study(genes: Sequence[str], hospitals: int, fold: int, seed: int) -> dict[str, Any]:
    return {
        "schema": WIDELY_READ,
        "study": "lgg_death_36m",
        "task": {"kind": "binary", "classes": ["survived", "died"]},
        "modalities": _modalities(genes),
        # Step size, rounds, fusion and dropout were chosen on validation patients, by folds that the benchmark does
        # not draw. Scored every third round only: of many noisy scores the best is best by luck.
        "rounds": 12,
        "seed": seed,
        "fusion": {"kind": "mean", "width": 8, "modality_dropout": 0.3},
        "training": {"local_steps": 5, "batch_size": 16, "learning_rate": 0.5, "weight_decay": 0.01},
        "evaluation": {"every": 3},
        "server": {"strategy": "FedAvg"},
        "privacy": {"mode": "none"},
        "secure_sum": {"enabled": True, "threshold": smallest_threshold(hospitals, 1)},
        "split": {
            "column": "fold",
            "validation_values": [str((fold + 1) % FOLDS)],
            "test_values": [str(fold)],
        },
    }


def _modalities(genes: Sequence[str]) -> dict[str, Any]:
    linear: dict[str, list[int]] = {"hidden": []}
    return {
        "mri": {
            "kind": "image",
            "size": 32,
            "slices": len(PLACES),
            "encoder": {"backbone": "small_cnn", "channels": 4},
        },
        "clinical": {
            "kind": "record",
            "numeric": {
                name: {"low": low, "high": high, "mean": 43.0, "sd": 13.0} for name, (low, high) in NUMERIC.items()
            },
            "categorical": {name: list(words) for name, words in CATEGORICAL.items()},
            "missing_indicators": False,
            "encoder": linear,
        },
        "mutations": _sequence(MUTATIONS, 0.0, 1.0, 0.5),
        "arms": _sequence(ARMS, -1.0, 1.0, 0.5),
        "rna": {
            "kind": "sequence",
            "genes": list(genes),
            "low": -10.0,
            "high": 20.0,
            "normalise": "secure_sum",
            "encoder": linear,
        },
    }


def _sequence(names: Sequence[str], low: float, high: float, sd: float) -> dict[str, Any]:
    """Calls of 0 and ±1: scaled by the study, because a rare call's own deviation would make it loud."""
    return {
        "kind": "sequence",
        "genes": list(names),
        "low": low,
        "high": high,
        "mean": 0.0,
        "sd": sd,
        "encoder": {"hidden": []},
    }
