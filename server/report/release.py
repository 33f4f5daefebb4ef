"""What of the evidence may be shown outside a simulation: counts of patients to the nearest five, and none below five.

So whoever subtracts counts from one another knows each of them to within two. Where that could still tell a small one,
what is known of the total goes too: how many are in training beside a class of a few, and how many have each modality
beside a class, a part or a modality of a few. Of a modality that all have, or all but a few, that alone is said. A
count whose noise of privacy is wider than five counts nobody in particular: it is kept, and written as its interval.

Scores of fewer than five patients, or of fewer than five of a class, say how each of them was scored, and are left out:
such an entry stays, without a measure. Scores of more patients are shown as they are: from many of them it can be
computed of how many patients they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.report.counts import half_of_cases, wider_than
from server.report.evidence import Cell, Comparison, Coverage, Evidence, InquiryEvidence, RoundEvidence
from server.report.verdict import is_private

SMALL_CELL = 5
FEW: Cell = "<5"
ALL_BUT_FEW: Cell = "all but <5"
WITHHELD: Cell = "withheld"


def released(evidence: Evidence) -> Evidence:
    """Return the evidence as it may be written: a simulation's as it is, a deployed run's without small cells. What was
    released once stays as it is: who lacks a modality cannot be told from rounded counts.
    """
    if evidence.simulated or evidence.released:
        return evidence
    void = _void(evidence.study)
    return replace(
        evidence,
        coverage=tuple(_coverage(coverage, void, is_private(evidence)) for coverage in evidence.coverage),
        rounds=tuple(round_released(entry) for entry in evidence.rounds),
        comparisons=tuple(_comparison(entry) for entry in evidence.comparisons),
        warnings=(*evidence.warnings, *_left_out(evidence.comparisons)),
        inquiries=tuple(map(_inquiry, evidence.inquiries)),
        released=True,
    )


def _coverage(coverage: Coverage, void: frozenset[str], private: bool) -> Coverage:
    """As it is where noise hides whether a count is small: what is then written is the interval of that noise.

    void: parts of the cohort that the study has not, as everybody knows; they count nobody
    """
    if wider_than(coverage.noise, SMALL_CELL):
        return coverage
    cases = {name: count if name in void else _cell(count) for name, count in coverage.cases.items()}
    present = _cells(coverage.present) if private else _present(coverage)
    classes = _cells(coverage.classes)
    if FEW in (*cases.values(), *present.values(), *classes.values()):
        present = {name: WITHHELD if _tells(count) else count for name, count in present.items()}
    if FEW in classes.values() and not isinstance(cases.get("train", FEW), str):
        cases["train"] = WITHHELD
    return replace(coverage, cases=cases, present=present, classes=classes)


def _inquiry(inquiry: InquiryEvidence) -> InquiryEvidence:
    """Its numbers of patients as those of a coverage; what is no such number stays."""
    if wider_than(inquiry.noise, SMALL_CELL):
        return inquiry
    found = {name: _cell(value) if name in inquiry.counts else value for name, value in inquiry.found.items()}
    return replace(inquiry, found=found)


def _tells(count: Cell) -> bool:
    return count == ALL_BUT_FEW or not isinstance(count, str)


def _present(coverage: Coverage) -> dict[str, Cell]:
    """How many have each modality, counted exactly. Who lacks it is a cell as well, and few, or nobody, are not told
    apart.
    """
    total = sum(count for count in coverage.cases.values() if not isinstance(count, str))
    return {
        name: ALL_BUT_FEW if not isinstance(count, str) and count >= SMALL_CELL > total - count else _cell(count)
        for name, count in coverage.present.items()
    }


def _void(study: Mapping[str, Any]) -> frozenset[str]:
    """Return the parts of the cohort into which the study puts no patient."""
    split = study.get("split", {})
    key = "{}_values" if split.get("column") is not None else "{}"
    return frozenset(part for part in ("validation", "test") if split and not split.get(key.format(part)))


def _cells(counts: Mapping[str, Cell]) -> dict[str, Cell]:
    return {name: _cell(count) for name, count in counts.items()}


def _cell(count: Cell) -> Cell:
    if isinstance(count, str):
        return count
    return _rounded(count) if count >= SMALL_CELL else FEW


def _rounded(count: float) -> float:
    return SMALL_CELL * float(round(count / SMALL_CELL))


def round_released(entry: RoundEvidence) -> RoundEvidence:
    """Return a deployed run's round as it may be shown: without a score of a few."""
    return entry if entry.metrics is None else replace(entry, metrics=_scores(entry.metrics))


def _comparison(entry: Comparison) -> Comparison:
    few = _few(entry.metrics)
    return replace(entry, metrics=_scores(entry.metrics), interval=None if few else entry.interval)


def _scores(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """These measures with their number of cases rounded, unless noise hides it, and without that of a class; none of
    them where they are of a few.
    """
    if _few(metrics):
        return {}
    found = {name: value for name, value in metrics.items() if name != "rarest"}
    if "cases" in found and 2 * half_of_cases(metrics) <= SMALL_CELL:
        found["cases"] = _rounded(found["cases"])
    return found


def _few(metrics: Mapping[str, float]) -> bool:
    """Whether these are measures of a handful of patients in all, or of a class, and no noise hides how many they are.

    Release 0.1 did not keep how many the rarest class has.
    """
    if 2 * half_of_cases(metrics) > SMALL_CELL:
        return False
    return any(name in metrics and not metrics[name] >= SMALL_CELL for name in ("cases", "rarest"))


def _left_out(comparisons: tuple[Comparison, ...]) -> tuple[str, ...]:
    labels = [entry.label for entry in comparisons if _few(entry.metrics)]
    return tuple(
        f"{label}: not shown, it was measured on fewer than {SMALL_CELL} patients, or on as few of one class."
        for label in labels
    )
