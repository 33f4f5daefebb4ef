"""Evidence as a run of four hospitals would leave it, without running one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from common.schema import plain
from common.study import parse_study
from server.report.evidence import Comparison, Coverage, Evidence, Kind, RoundEvidence

STUDY = """
study: lung
task: {kind: binary, classes: [benign, malignant]}
modalities:
  scan: {kind: image, size: 48, encoder: {backbone: small_cnn}}
  chart:
    kind: record
    numeric: {age: {low: 0, high: 110, mean: 60, sd: 15}}
    categorical: {smoker: [never, past, now]}
  letter: {kind: note}
  panel: {kind: sequence, genes: [egfr, kras, alk, tp53]}
rounds: 20
privacy: {mode: local, epsilon: 8.0, delta: 1.0e-4}
"""
SITES = ("ashford", "brantley", "corwen", "dunmore")


def metrics(auc: float, cases: float = 243.0) -> dict[str, float]:
    """All measures that go with this AUC, near enough."""
    return {
        "auc": auc,
        "accuracy": 0.45 + 0.42 * auc,
        "log_loss": 0.98 - 0.6 * auc,
        "brier": 0.34 - 0.22 * auc,
        "calibration_error": 0.16 - 0.13 * auc,
        "cases": cases,
    }


def round_of(number: int, **changes: Any) -> RoundEvidence:
    """Round `number` of a run that learns fast at first and loses a site twice."""
    lost = number in (6, 13)
    entry = RoundEvidence(
        round=number,
        sites=3 if lost else 4,
        dropped=int(lost),
        drop_reasons={"site_failed" if number == 6 else "silent": 1} if lost else {},
        seconds=4.1 + 0.3 * math.sin(number),
        bytes_up=(3 if lost else 4) * 612_000,
        bytes_down=4 * 305_000,
        steps=(3 if lost else 4) * 10,
        epsilon=2.1 * math.sqrt(number / 1.6),
        held_out_epsilon=None,
        metrics=metrics(0.86 - 0.34 * math.exp(-number / 4) + 0.006 * math.sin(3 * number)),
    )
    return replace(entry, **changes)


def comparison(label: str, kind: Kind, auc: float, half: float | None = 0.024, note: str = "") -> Comparison:
    return Comparison(
        label, kind, metrics(auc, 486.0), None if half is None else (auc - half, min(auc + half, 1.0)), note
    )


def coverage(site: str | None, cases: tuple[int, int, int], present: tuple[int, ...], positive: int) -> Coverage:
    names = ("scan", "chart", "letter", "panel")
    return Coverage(
        site,
        dict(zip(("train", "validation", "test"), map(float, cases), strict=True)),
        dict(zip(names, map(float, present), strict=True)),
        {"benign": float(cases[0] - positive), "malignant": float(positive)},
    )


def evidence(**changes: Any) -> Evidence:
    """A finished, private, simulated run, with everything in it."""
    study = parse_study(STUDY)
    whole = Evidence(
        study=plain(study),
        study_digest=study.digest,
        run="amber-heron",
        started="2026-03-02T10:15:00+00:00",
        finished="2026-03-02T10:18:24+00:00",
        simulated=True,
        sites=4,
        selected_round=17,
        rounds=tuple(round_of(number) for number in range(1, 21)),
        coverage=(
            coverage("ashford", (420, 60, 120), (590, 600, 571, 588), 150),
            coverage("brantley", (310, 45, 88), (431, 443, 0, 437), 68),
            coverage("corwen", (265, 38, 76), (371, 379, 366, 0), 132),
            coverage("dunmore", (190, 27, 54), (58, 271, 262, 255), 43),
            coverage(None, (1185, 170, 338), (1450, 1693, 1199, 1280), 393),
        ),
        comparisons=(
            comparison("Federated", "federated", 0.861),
            comparison("Federated without privacy", "federated_non_private", 0.884, 0.022),
            comparison("Pooled", "pooled", 0.892, 0.021),
            comparison("ashford", "alone", 0.788, 0.031, "600 cases"),
            comparison("brantley", "alone", 0.731, 0.035),
            comparison("corwen", "alone", 0.752, 0.033),
            comparison("dunmore", "alone", 0.694, 0.039),
            comparison("scan", "single_modality", 0.744, 0.034),
            comparison("chart", "single_modality", 0.718, 0.035),
            comparison("letter", "single_modality", 0.701, 0.036),
            comparison("panel", "single_modality", 0.689, 0.037),
        ),
        warnings=("dunmore: 58 of 271 cases have a scan.",),
        software={"wardround": "0.1.0", "flwr": "1.41.0", "torch": "2.15.0", "opacus": "1.6.0", "python": "3.11.7"},
        threshold=3,
    )
    return replace(whole, **changes)


def deployed(**changes: Any) -> Evidence:
    """The same run as deployed hospitals would report it: sums only."""
    whole = evidence()
    sums = {
        "simulated": False,
        "coverage": tuple(entry for entry in whole.coverage if entry.site is None),
        "comparisons": tuple(entry for entry in whole.comparisons if entry.kind == "federated"),
        "warnings": (),
    }
    return replace(whole, **{**sums, **changes})
