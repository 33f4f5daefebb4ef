"""UCI heart disease: four real hospitals, a table each, prepared and split as FLamby's Fed-Heart-Disease.

Where to get it: the UCI Machine Learning Repository, data set 45, "Heart Disease" (Janosi, Steinbrunn, Pfisterer and
Detrano 1988). The archive holds processed.cleveland.data, processed.hungarian.data, processed.switzerland.data and
processed.va.data; put these four in one folder. Licence: CC BY 4.0; name the creators in what you publish.

As FLamby (du Terrail et al. 2022) prepares it: the columns slope, ca and thal are dropped, then rows with gaps; the
label is num > 0; chest pain and resting ECG are one-hot without their first category, with the categories of all
hospitals together, which gives 13 features; two thirds of each hospital's rows are for training, by a fixed split
that keeps the share of patients with the disease (in Switzerland, where nearly all have it, it does not). FLamby scales
by mean and standard deviation of all training rows: here the secure sum finds them, and one-hots stay 0 and 1.

No row is kept for validation, because the published split has none. `validation_fraction` marks that share of
the training rows as `validation`, to choose settings with: never choose them on the test rows.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.site import SiteFile
from common.errors import DataError, SiteFileError, StudyError
from common.study import Study
from deploy.examples.split import train_test
from deploy.folders import Whole, threshold, write_table, write_yaml

HOSPITALS = ("cleveland", "hungarian", "switzerland", "va")
UNSTRATIFIED = frozenset({"switzerland"})
RAW = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"),
    *("slope", "ca", "thal", "num"),
)
DROPPED = frozenset({"slope", "ca", "thal"})
COLUMNS = tuple(name for name in RAW if name not in DROPPED and name != "num")
RANGES = {
    "age": (0.0, 120.0),
    "sex": (0.0, 1.0),
    "trestbps": (0.0, 300.0),
    "chol": (0.0, 1000.0),
    "fbs": (0.0, 1.0),
    "thalach": (0.0, 300.0),
    "exang": (0.0, 1.0),
    "oldpeak": (-10.0, 10.0),
}
CATEGORIES = {  # the file's codes and the data set's own words for them
    "cp": {"1": "typical_angina", "2": "atypical_angina", "3": "non_anginal_pain", "4": "asymptomatic"},
    "restecg": {"0": "normal", "1": "st_t_abnormality", "2": "hypertrophy"},
}
DISEASE = {"0": "absent", "1": "present"}


@dataclass(frozen=True)
class Row:
    """A complete patient: the raw file's line, from 1, its kept cells, and whether the disease was found."""

    line: int
    cells: tuple[float, ...]
    disease: int

    def __repr__(self) -> str:
        return f"Row({len(self.cells)} cells)"


def heart(source: Path, out: Path, *, validation_fraction: float = 0.0) -> list[Path]:
    """Turn the four raw files in `source` into hospital folders and study.yaml under `out`; return the folders.

    Raises DataError naming a raw file that is missing or not as published, RunError if `out` is not empty.
    """
    found = {hospital: _complete(source / f"processed.{hospital}.data") for hospital in HOSPITALS}
    with Whole(out) as folder:
        for hospital, rows in found.items():
            _hospital(folder / hospital, hospital, rows, validation_fraction)
        write_yaml(
            folder / "study.yaml",
            "Heart disease in four hospitals: logistic regression on FLamby's fixed split.",
            _study(validation_fraction),
            Study,
            StudyError,
        )
    return [out / hospital for hospital in HOSPITALS]


def _complete(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError):
        raise DataError(
            f"{path}: cannot be read. Download data set 45, Heart Disease, from the UCI Machine Learning Repository, "
            "and give the folder with its four processed.*.data files."
        ) from None
    rows = [_row(path, number, line) for number, line in enumerate(lines, start=1) if line]
    return [row for row in rows if row is not None]


def _row(path: Path, number: int, line: list[str]) -> Row | None:
    """The kept cells, or None where one of them is a gap."""
    if len(line) != len(RAW):
        raise DataError(f"{path}: line {number} has {len(line)} cells, not {len(RAW)}. Use the processed.* files.")
    named = dict(zip(RAW, (cell.strip() for cell in line), strict=True))
    kept = [named[name] for name in (*COLUMNS, "num")]
    if "?" in kept:
        return None
    try:
        values = [float(cell) for cell in kept]
    except ValueError:
        raise DataError(f"{path}: line {number} has a cell that is neither a number nor '?'.") from None
    return Row(number, tuple(values[:-1]), int(values[-1] > 0))


def _hospital(folder: Path, hospital: str, rows: list[Row], validation_fraction: float) -> None:
    folder.mkdir()
    split = _split(hospital, rows, validation_fraction)
    cells = ([f"{hospital}-{row.line:03d}", *map("{:g}".format, row.cells), str(row.disease)] for row in rows)
    table = ([*row, part] for row, part in zip(cells, split, strict=True))
    write_table(folder / "records.csv", ["patient_id", *COLUMNS, "disease", "split"], table)
    write_yaml(
        folder / "site.yaml",
        "Public data (UCI data set 45, CC BY 4.0), as a hospital would describe its own.",
        _site(hospital),
        SiteFile,
        SiteFileError,
    )


def _split(hospital: str, rows: list[Row], validation_fraction: float) -> list[str]:
    labels = [row.disease for row in rows]
    train, test = train_test(labels, train=0.66, test=0.34, state=43, stratify=hospital not in UNSTRATIFIED)
    part = np.full(len(rows), "train", dtype=object)
    part[test] = "test"
    part[train[: round(validation_fraction * len(train))]] = "validation"  # their order is already shuffled
    return [str(value) for value in part]


def _site(hospital: str) -> dict[str, Any]:
    records = "records.csv"
    return {
        "site": hospital,
        "target": {"file": records, "column": "disease", "values": dict(DISEASE)},
        "records": {"record": {"file": records, "values": {name: dict(words) for name, words in CATEGORIES.items()}}},
        "split": {"file": records, "column": "split"},
    }


def _study(validation_fraction: float) -> dict[str, Any]:
    return {
        "study": "heart",
        "task": {"kind": "binary", "classes": list(DISEASE.values())},
        "modalities": {
            "record": {
                "kind": "record",
                "numeric": {name: {"low": low, "high": high} for name, (low, high) in RANGES.items()},
                "categorical": {name: list(words.values()) for name, words in CATEGORIES.items()},
                "missing_indicators": False,
                "drop_first": True,
                "normalise": "secure_sum",
                "encoder": {"hidden": []},
            }
        },
        "rounds": 15,
        "fusion": {"kind": "mean", "modality_dropout": 0.0},
        "training": {"local_steps": 100, "batch_size": 4, "optimiser": "sgd", "learning_rate": 0.001},
        "server": {"strategy": "FedAdam", "options": {"eta": 0.01}},
        "privacy": {"mode": "none"},
        "secure_sum": {"enabled": True, "threshold": threshold(len(HOSPITALS))},
        "split": {
            "column": "split",
            "validation_values": ["validation"] if validation_fraction else [],
            "test_values": ["test"],
        },
    }
