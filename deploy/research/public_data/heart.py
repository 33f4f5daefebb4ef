"""UCI heart disease as four hospitals: coronary narrowing from ten columns of a cardiology record.

The four files processed.{cleveland,hungarian,switzerland,va}.data are in the archive "Heart Disease" of the UCI
Machine Learning Repository, dataset 45: https://archive.ics.uci.edu/dataset/45/heart+disease (A. Janosi, W. Steinbrunn,
M. Pfisterer, R. Detrano, 1988, doi 10.24432/C52P4X). Licence CC BY 4.0. Download it and unpack it into one folder.

Patients, columns and split are those of Fed-Heart-Disease in FLamby (Ogier du Terrail et al. 2022), so that figures
compare with those published: `slope`, `ca` and `thal` are left out, then patients with a gap; the label is `num` > 0;
the split is fixed in each hospital. 740 patients, 486 to train and 254 to test. The files write 0 for some pressures
and cholesterols that nobody measured, at Switzerland for every cholesterol; FLamby keeps them, and so does this.

Cells stay as the hospital wrote them (1.0 at Cleveland, 1 elsewhere): site.yaml says what its codes mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.site import SiteFile
from common.errors import DataError, SiteFileError, StudyError
from common.schema import WIDELY_READ
from common.secure_sum.thresholds import smallest_threshold
from common.study import Study
from deploy.research.folders import made_whole, write_table, write_yaml
from deploy.research.public_data.split import train_test

PATIENTS = {"cleveland": 303, "hungarian": 294, "switzerland": 123, "va": 200}  # rows of each file, gaps included
COLUMNS = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg"),
    *("thalach", "exang", "oldpeak", "slope", "ca", "thal", "num"),
)
LEFT_OUT = {"slope", "ca", "thal"}  # hardly filled in outside of Cleveland
KEPT = tuple(name for name in COLUMNS if name not in LEFT_OUT)
GAP = "?"
UNSTRATIFIED = {"switzerland"}  # too few of its patients are without the disease
CLASSES = ("absent", "present")  # a coronary artery narrowed by more than half
TARGET = {"0": "absent", "1": "present", "2": "present", "3": "present", "4": "present"}
SOURCE = (
    "Download the archive of https://archive.ics.uci.edu/dataset/45/heart+disease, unpack it, and name its folder "
    "with --from"
)


@dataclass(frozen=True)
class Number:
    """A numeric column: UCI's name, and what a body can show. Public, and wide: nothing is clipped."""

    column: str
    low: float
    high: float


@dataclass(frozen=True)
class Words:
    """A categorical column: UCI's name, and what its codes mean; the first is the reference."""

    column: str
    meaning: dict[str, str]


NUMBERS = {
    "age": Number("age", 0.0, 120.0),  # years
    "blood_pressure": Number("trestbps", 0.0, 300.0),  # systolic at rest, mmHg
    "cholesterol": Number("chol", 0.0, 1000.0),  # serum, mg/dl
    "heart_rate": Number("thalach", 0.0, 250.0),  # highest in exercise, per minute
    "st_depression": Number("oldpeak", -10.0, 10.0),  # exercise against rest, mm
}
NO_OR_YES = {"0": "no", "1": "yes"}
CATEGORIES = {
    "sex": Words("sex", {"0": "female", "1": "male"}),
    "chest_pain": Words(
        "cp", {"1": "typical_angina", "2": "atypical_angina", "3": "other_pain", "4": "without_symptoms"}
    ),
    "high_fasting_glucose": Words("fbs", NO_OR_YES),  # above 120 mg/dl
    "resting_ecg": Words("restecg", {"0": "normal", "1": "st_t_abnormal", "2": "left_ventricular_hypertrophy"}),
    "exercise_angina": Words("exang", NO_OR_YES),
}

Rows = list[dict[str, str]]


def heart(source: Path, out: Path) -> list[Path]:
    """Write four hospital folders and a study.yaml to `out`, from UCI's files in `source`; return the folders.

    The folder appears whole or not at all. Raises DataError where a file is missing or is not UCI's, and RunError
    where `out` is not empty.
    """
    centres = {site: _read(source / f"processed.{site}.data", number) for site, number in PATIENTS.items()}
    with made_whole(out) as folder:
        for site, rows in centres.items():
            _write_site(folder / site, site, rows)
        _write_study(folder / "study.yaml")
    return [out / site for site in centres]


# ------------------------------------------------------------------------------------------------------ what UCI has


def _read(path: Path, patients: int) -> Rows:
    """The patients without a gap, each UCI column -> cell, and `line`, their place in the file."""
    rows = [[cell.strip() for cell in line.split(",")] for line in _text(path).splitlines() if line.strip()]
    if len(rows) != patients or any(len(row) != len(COLUMNS) for row in rows):
        raise DataError(
            f"{path}: is not UCI's file, which has {patients} rows of {len(COLUMNS)} cells, without a header; this one "
            f"has {len(rows)} rows. {SOURCE}."
        )
    told = [{"line": str(place), **dict(zip(COLUMNS, row, strict=True))} for place, row in enumerate(rows, start=1)]
    _require_known(path, told)
    return [row for row in told if all(row[name] != GAP for name in KEPT)]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as problem:
        reason = f"cannot be read ({problem.strerror})"
    except UnicodeDecodeError:
        reason = "is not plain text"
    raise DataError(f"{path}: {reason}. {SOURCE}.")


def _require_known(path: Path, rows: Rows) -> None:
    """Refuse numbers that no body shows, and codes that UCI does not explain."""
    ranges = {number.column: (number.low, number.high) for number in NUMBERS.values()}
    codes = {"num": TARGET, **{words.column: words.meaning for words in CATEGORIES.values()}}
    wrong = {name: sum(not _within(row[name], *limits) for row in rows) for name, limits in ranges.items()}
    wrong |= {name: sum(_code(row[name]) not in {*known, GAP} for row in rows) for name, known in codes.items()}
    told = [f"{name} ({count} of {len(rows)} cells)" for name, count in wrong.items() if count]
    if told:
        raise DataError(f"{path}: is not UCI's file: values that it does not have, in {', '.join(told)}. {SOURCE}.")


def _within(cell: str, low: float, high: float) -> bool:
    return cell == GAP or low <= _value(cell) <= high


def _code(cell: str) -> str:
    """1, 1.0 and 01 are one code."""
    return cell if cell == GAP else f"{_value(cell):g}"


def _value(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


# ----------------------------------------------------------------------------------------------- what is written


def _write_site(folder: Path, site: str, rows: Rows) -> None:
    folder.mkdir()
    labels = [CLASSES.index(TARGET[_code(row["num"])]) for row in rows]
    _, held_out = train_test(labels, train=0.66, test=0.34, state=43, stratify=site not in UNSTRATIFIED)
    test = set(held_out)
    table = [
        [f"{site}-{int(row['line']):03}", *(row[name] for name in KEPT), "test" if place in test else "train"]
        for place, row in enumerate(rows)
    ]
    write_table(folder / "records.csv", ["patient_id", *KEPT, "split"], table)
    head = "Where this hospital's data is, and what its columns and codes mean. It never leaves the hospital."
    write_yaml(folder / "site.yaml", head, _site(site, rows), SiteFile, SiteFileError)


def _site(site: str, rows: Rows) -> dict[str, Any]:
    records = "records.csv"
    called: dict[str, Number | Words] = {**NUMBERS, **CATEGORIES}
    renamed = {name: there.column for name, there in called.items() if name != there.column}
    return {
        "schema": WIDELY_READ,
        "site": site,
        "target": {"file": records, "column": "num", "values": _spelled(rows, "num", TARGET)},
        "records": {
            "record": {
                "file": records,
                "columns": renamed,
                "values": {name: _spelled(rows, words.column, words.meaning) for name, words in CATEGORIES.items()},
            }
        },
        "split": {"file": records, "column": "split"},
        "policy": {"require_privacy": False},  # the study has none
    }


def _spelled(rows: Rows, column: str, meaning: dict[str, str]) -> dict[str, str]:
    """The codes as this hospital's file spells them -> words."""
    return {cell: meaning[_code(cell)] for cell in sorted({row[column] for row in rows})}


def _write_study(path: Path) -> None:
    """Logistic regression, 13 weights and a bias from zero; each hospital's numbers enter only a secure sum.

    How it trains was chosen by log loss in 5-fold cross-validation over the training rows alone: first FedAvg, FedAdam,
    FedYogi and FedAdagrad with local step sizes .001 to .3, batches of 4 to 32 and 15 to 40 rounds, 2 repeats; then
    around the best of FedAvg and of FedAdagrad, 8 repeats.
    """
    content: dict[str, Any] = {
        "schema": WIDELY_READ,
        "study": "heart_disease",
        "task": {"kind": "binary", "classes": list(CLASSES)},
        "modalities": {"record": _record()},
        "rounds": 20,
        "fusion": {"kind": "mean", "modality_dropout": 0.0},
        "training": {"local_steps": 10, "batch_size": 32, "optimiser": "sgd", "learning_rate": 0.1},
        "server": {"strategy": "FedAdagrad", "options": {"eta": 0.2}},
        "privacy": {"mode": "none"},
        "secure_sum": {"enabled": True, "threshold": smallest_threshold(len(PATIENTS), 1), "max_cases": 1000},
        "split": {"column": "split", "test_values": ["test"]},
    }
    head = "Coronary narrowing in four hospitals. Data: UCI Heart Disease, doi 10.24432/C52P4X, CC BY 4.0."
    write_yaml(path, head, content, Study, StudyError)


def _record() -> dict[str, Any]:
    return {
        "kind": "record",
        "numeric": {name: {"low": number.low, "high": number.high} for name, number in NUMBERS.items()},
        "categorical": {name: list(words.meaning.values()) for name, words in CATEGORIES.items()},
        "missing_indicators": False,
        "drop_first": True,
        "normalise": "secure_sum",
        "encoder": {"hidden": []},
    }
