"""What only the generator knows, beside the hospitals' folders and for tests alone: truth.csv and identifiers.json.

No part of wardround reads them. truth.csv has one row a patient, and says nothing personal: site, row (0-based, of
that hospital's records.csv), labelled (0 or 1: is the outcome in records.csv), label, then for each modality the best
possible score of its latent (the log likelihood ratio d·x; empty where the patient lacks it) and `fusion`, their sum.
identifiers.json has for each site every string planted in its files that says who somebody is.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from deploy.research.synthetic.hospital import Hospital
from deploy.research.synthetic.strength import KINDS

TRUTH, IDENTIFIERS = "truth.csv", "identifiers.json"


def write_truth(path: Path, hospitals: Sequence[Hospital]) -> None:
    """One row a patient of every hospital."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["site", "row", "labelled", "label", *KINDS, "fusion"])
        for hospital in hospitals:
            table.writerows(_row(hospital, index) for index in range(len(hospital.patients)))


def _row(hospital: Hospital, index: int) -> list[str | int]:
    drawn, strength = hospital.patients, hospital.strength
    scores = [
        strength.d(kind) * float(drawn.latent[kind][index]) if drawn.present[kind][index] else None for kind in KINDS
    ]
    cells = ["" if score is None else f"{score:.5f}" for score in scores]
    fusion = sum(score for score in scores if score is not None)
    return [
        *(hospital.plan.name, index, int(drawn.labelled[index]), int(drawn.label[index])),
        *(*cells, f"{fusion:.5f}"),
    ]


def write_identifiers(path: Path, hospitals: Sequence[Hospital]) -> None:
    """Every planted string by site, sorted."""
    planted = {
        hospital.plan.name: sorted(
            {text for person in hospital.patients.people for text in person.identifiers(hospital.plan.dialect)}
        )
        for hospital in hospitals
    }
    path.write_text(json.dumps(planted, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def planted(directory: Path) -> dict[str, list[str]]:
    """For each site of generated hospitals, the strings that no case, message or report may contain."""
    found: dict[str, list[str]] = json.loads((directory / IDENTIFIERS).read_text(encoding="utf-8"))
    return found
