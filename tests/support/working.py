"""A real site with a small private cohort, whose `work` a test asks again and again, and a plan that asks for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.round.round import work
from client.round.session import Site
from client.site import SiteFolder
from common.parameters import flatten
from common.plan import RoundPlan
from common.statistics import normaliser_from_sums, statistic_segments
from common.study import Study
from tests.support.hospital import hospital, study_of, write_csv, write_site

RUN = "0123456789abcdef"
NAMES = ("east", "north", "south")
PRIVACY: dict[str, Any] = {
    "mode": "local",
    "sample_rate": 0.3,
    "expected_batch_size": 8.0,
    "spare_rounds": 400,
    "epsilon": 60.0,
}
Segments = Mapping[str, NDArray[np.float64]]


@dataclass
class Ward:
    """A hospital, its study, and the site that works on it."""

    folder: SiteFolder
    study: Study

    @cached_property
    def site(self) -> Site:
        return Site(self.folder, self.study, self.folder.root / "state")

    def plan(self, **changes: Any) -> RoundPlan:
        """Round 1 with statistics, a score of validation patients, and training of every group."""
        none = {segment.name: np.zeros(segment.length) for segment in statistic_segments(self.study)}
        plan = RoundPlan(
            self.study.digest,
            RUN,
            1,
            1,
            ("statistics", "update", "validation"),
            NAMES,
            dict.fromkeys(("shared", *self.study.names), NAMES),
            flatten(self.site.network) if "weights" not in changes else changes["weights"],
            normaliser_from_sums(self.study, none),
        )
        return replace(plan, **changes)

    def segments(self, plan: RoundPlan) -> Segments:
        """What `work` hands over for the sum: each segment's values, before fixed point and masks."""
        worked = work(plan, self.site)
        return {part.segment.name: part.values.astype(np.float64) * part.factor for part in worked.summand.parts}

    def attempts(self, times: int, **changes: Any) -> dict[str, NDArray[np.float64]]:
        """Segment -> (times, length): the same plan, attempt after attempt, each paid for anew."""
        first = self.plan(**changes)
        found = [self.segments(replace(first, attempt=number)) for number in range(1, times + 1)]
        return {name: np.stack([one[name] for one in found]) for name in found[0]}


def ward(folder: Path, patients: int = 40, **privacy: Any) -> Ward:
    """Two modalities with summed statistics, so that every kind of segment is there; a third validates."""
    study = study_of(
        {
            "rounds": 2,
            "training": {"local_steps": 2, "learning_rate": 0.05},
            "privacy": PRIVACY | privacy,
            "split": {"validation": 0.3, "test": 0.3},
            "evaluation": {"bins": 4},
            "fusion": {"kind": "mean", "width": 8, "modality_dropout": 0.1},
        },
        ["labs", "genes"],
    )
    return Ward(hospital(folder, patients), study)


def alike(folder: Path, many: int = 38, few: int = 2, clipping: str = "auto", **changes: Any) -> Ward:
    """Patients who differ by their outcome only, all in training, and hardly any noise: sums of gradients are counts.

    Every gradient is clipped to the bound, and those of the two outcomes point in opposite directions.
    """
    outcomes = ["dead"] * many + ["alive"] * few
    rows = [
        {"patient_id": f"p{number}", "outcome": outcome, "CRP (mg/l)": 10.0, "pulse": 70, "sex": "W"}
        for number, outcome in enumerate(outcomes)
    ]
    write_csv(folder / "records.csv", rows)
    absent = {"images": None, "notes": None, "sequences": None, "identity": None, "clipping": clipping}
    linear = {"kind": "record", "numeric": {"pulse": {"low": 20, "high": 220, "mean": 60, "sd": 15}}}
    study = study_of(
        {
            "modalities": {"labs": linear | {"encoder": {"hidden": []}}},
            "fusion": {"kind": "mean", "width": 4, "modality_dropout": 0.0},
            "training": {"local_steps": 2, "learning_rate": 0.01},
            "privacy": {
                "mode": "local", "epsilon": 1e6, "sample_rate": 0.5, "expected_batch_size": 1.0,
                "max_grad_norm": 0.01, "spare_rounds": 0,
            },
            "split": {"validation": 0.0, "test": 0.0},
        } | changes
    )  # fmt: skip
    return Ward(write_site(folder, absent), study)
