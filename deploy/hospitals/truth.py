"""What only the generator knows, beside the hospitals' folders and for tests alone: truth.csv and identifiers.json.

No part of wardround reads them. truth.csv has one row a patient, and says nothing personal: site, row (0-based, of
that hospital's records.csv), labelled (0 or 1: is the outcome in records.csv), label, then for each modality the best
possible score of its latent (the log likelihood ratio d·x; empty where the patient lacks it) and `fusion`, their sum.
identifiers.json has for each site every string planted in its files that says who somebody is.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

from deploy.hospitals.patients import Patients
from deploy.hospitals.plan import SitePlan
from deploy.hospitals.strength import KINDS, Strength

TRUTH, IDENTIFIERS = "truth.csv", "identifiers.json"


def write_truth(path: Path, drawn: Mapping[str, Patients], strength: Strength) -> None:
    """One row a patient of every hospital."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["site", "row", "labelled", "label", *KINDS, "fusion"])
        for site, patients in drawn.items():
            table.writerows(_row(site, index, patients, strength) for index in range(len(patients)))


def _row(site: str, index: int, patients: Patients, strength: Strength) -> list[str | int]:
    scores = [
        strength.d(kind) * float(patients.latent[kind][index]) if patients.present[kind][index] else None
        for kind in KINDS
    ]
    fusion = sum(score for score in scores if score is not None)
    cells = ["" if score is None else f"{score:.5f}" for score in scores]
    return [site, index, int(patients.labelled[index]), int(patients.label[index]), *cells, f"{fusion:.5f}"]


def write_identifiers(path: Path, drawn: Mapping[str, Patients], plans: list[SitePlan]) -> None:
    """Every planted string by site, sorted."""
    planted = {
        plan.name: sorted({text for person in drawn[plan.name].people for text in person.identifiers(plan.dialect)})
        for plan in plans
    }
    path.write_text(json.dumps(planted, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def planted(directory: Path) -> dict[str, list[str]]:
    """For each site of generated hospitals, the strings that no case, message or report may contain."""
    found: dict[str, list[str]] = json.loads((directory / IDENTIFIERS).read_text(encoding="utf-8"))
    return found
