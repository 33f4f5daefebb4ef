"""Synthetic hospitals as a plain reader of the exported files sees them: no code of the product's data side."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from client.site import SiteFile, read_site
from common.study import Study, read_study
from deploy.research.synthetic.notes import SYMPTOMS

KINDS = ("image", "record", "note", "genes")
Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Told:
    """All hospitals' patients, one row each: the truth, and what the files hold of each modality (NaN: nothing)."""

    site: NDArray[np.str_]
    label: NDArray[np.int64]
    labelled: NDArray[np.bool_]
    best: dict[str, NDArray[np.float64]]  # oracle scores, and "fusion"
    carriers: dict[str, NDArray[np.float64]]  # (patients, features)

    def present(self, kind: str) -> NDArray[np.bool_]:
        return ~np.isnan(self.best[kind])


def rows(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def told(directory: Path) -> Told:
    """Read everything under a generated directory."""
    truth = rows(directory / "truth.csv")
    study = read_study(directory / "study.yaml")
    sites = list(dict.fromkeys(row["site"] for row in truth))
    parts = [_carriers(directory / site, study) for site in sites]
    return Told(
        site=np.array([row["site"] for row in truth]),
        label=np.array([int(row["label"]) for row in truth]),
        labelled=np.array([row["labelled"] == "1" for row in truth]),
        best={kind: np.array([float(row[kind] or "nan") for row in truth]) for kind in (*KINDS, "fusion")},
        carriers={kind: np.vstack([part[kind] for part in parts]) for kind in KINDS},
    )


def _carriers(folder: Path, study: Study) -> dict[str, NDArray[np.float64]]:
    site = read_site(folder).file
    table = rows(folder / "records.csv")
    patients = [row[site.patient] for row in table]
    return {
        "record": _record(site, study, table),
        "image": _by_patient(patients, _brightness(folder), 1),
        "note": _by_patient(patients, _counts(folder, site), 4 * len(SYMPTOMS)),
        "genes": _by_patient(patients, _expression(folder, site, study), len(study.modalities["genes"].genes)),
    }


def _by_patient(patients: list[str], found: dict[str, NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.array([found.get(patient, np.full(width, np.nan)) for patient in patients])


def _record(site: SiteFile, study: Study, table: Rows) -> NDArray[np.float64]:
    source, modality = site.records["record"], study.modalities["record"]
    gaps = {"", *source.missing}
    columns = []
    for name, number in modality.numeric.items():
        cells = [row[source.columns.get(name, name)] for row in table]
        columns.append([0.0 if cell in gaps else (float(cell) - number.mean) / number.sd for cell in cells])
    for name, categories in modality.categorical.items():
        cells = [source.values[name].get(row[source.columns.get(name, name)]) for row in table]
        columns.extend([[float(cell == category) for cell in cells] for category in categories])
    return np.array(columns).T


def _expression(folder: Path, site: SiteFile, study: Study) -> dict[str, NDArray[np.float64]]:
    if "genes" not in site.sequences:
        return {}
    source, modality = site.sequences["genes"], study.modalities["genes"]
    names = [source.columns.get(gene, gene) for gene in modality.genes]
    gaps = {"", *source.missing}
    return {
        row[source.patient]: np.array(
            [
                0.0 if row[name] in gaps else (float(row[name]) - mean) / modality.sd
                for name, mean in zip(names, modality.mean, strict=True)
            ]
        )
        for row in rows(folder / "genes.csv")
    }


def _counts(folder: Path, site: SiteFile) -> dict[str, NDArray[np.float64]]:
    """How often each phrase stands in a note, grades counted with the topic they follow."""
    if "note" not in site.notes:
        return {}
    source = site.notes["note"]
    return {row[source.patient]: _phrases(row[source.text].lower()) for row in rows(folder / "notes.csv")}


def _phrases(text: str) -> NDArray[np.float64]:
    found = []
    for symptom in SYMPTOMS:
        after = [re.search(rf"\b{topic} (worse|poor|bad|better|good|fine)\b", text) for topic in symptom.topics]
        grades = {match.group(1) for match in after if match}
        found += [
            float(bool(grades & {"worse", "poor", "bad"})),
            float(bool(grades & {"better", "good", "fine"})),
            float(any(phrase in text for phrase in symptom.ill)),
            float(any(phrase in text for phrase in symptom.well)),
        ]
    return np.array(found)


def _brightness(folder: Path) -> dict[str, NDArray[np.float64]]:
    """For each film the mean where the opacity lies, less that of the same place in the other lung."""
    found = {}
    for path in sorted(folder.rglob("*.dcm")):
        data = pydicom.dcmread(path)
        pixels = data.pixel_array.astype(float)
        if data.PhotometricInterpretation == "MONOCHROME1":
            pixels = pixels.max() - pixels
        low, high = np.percentile(pixels, (1, 99))
        seen = np.clip((pixels - low) / (high - low), 0, 1)
        down = slice(round(0.52 * data.Rows), round(0.76 * data.Rows))
        here, there = (
            seen[down, round(0.62 * data.Columns) : round(0.80 * data.Columns)],
            seen[down, round(0.20 * data.Columns) : round(0.38 * data.Columns)],
        )
        found[str(data.PatientID)] = np.array([here.mean() - there.mean()])
    return found
