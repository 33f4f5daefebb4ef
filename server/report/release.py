"""What of the evidence may be shown outside a simulation: no cell that counts fewer than five patients.

A count whose noise of privacy is wider than that counts nobody in particular: it is kept, and written as its interval.

One withheld cell of a list whose total is known can be had by subtraction, so the next smallest goes with it, and with
parts of the cohort whatever tells their total, or one of them, elsewhere: how many have a modality, which all may have,
and how many were scored. Who lacks a modality is a cell as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.report.counts import half_of_cases, wider_than
from server.report.evidence import Cell, Comparison, Coverage, Evidence, RoundEvidence

SMALL_CELL = 5


def released(evidence: Evidence) -> Evidence:
    """The evidence as it may be written: a simulation's as it is, a deployed run's without small cells."""
    if evidence.simulated:
        return evidence
    void = _void(evidence.study)
    coverage = tuple(_coverage(coverage, void) for coverage in evidence.coverage)
    hidden = any(isinstance(entry.cases.get("validation"), str) for entry in coverage)
    return replace(
        evidence,
        coverage=coverage,
        rounds=tuple(_round(entry, hidden=hidden) for entry in evidence.rounds),
        comparisons=tuple(entry for entry in evidence.comparisons if not _few(entry.metrics)),
        warnings=(*evidence.warnings, *_withheld(evidence.comparisons)),
    )


def _coverage(coverage: Coverage, void: frozenset[str]) -> Coverage:
    """As it is where noise hides whether a count is small: what is then written is the interval of that noise.

    void: parts of the cohort that the study has not, as everybody knows; they count nobody
    """
    if wider_than(coverage.noise, SMALL_CELL):
        return coverage
    parts = {name: count for name, count in coverage.cases.items() if name not in void}
    return replace(
        coverage,
        cases={name: count for name, count in coverage.cases.items() if name in void} | _parts(parts),
        present=_present(coverage.present, parts),
        classes=_parts(coverage.classes),
    )


def _void(study: Mapping[str, Any]) -> frozenset[str]:
    """The parts of the cohort into which the study puts no patient."""
    split = study.get("split", {})
    has = {"validation": ("validation", "validation_values"), "test": ("test", "test_values")}
    return frozenset(part for part, keys in has.items() if split and not any(split.get(key) for key in keys))


def _present(present: Mapping[str, Cell], cases: Mapping[str, Cell]) -> dict[str, Cell]:
    """None of more than all but four, and none at all beside a part that is withheld."""
    numbers = [count for count in cases.values() if not isinstance(count, str) and count >= SMALL_CELL]
    total = sum(numbers) if len(numbers) == len(cases) else None
    shown = {name: _cell(count) for name, count in present.items()}
    for name, count in shown.items():
        if not isinstance(count, str) and (total is None or 0 < total - count < SMALL_CELL):
            shown[name] = "withheld"
    return shown


def _cell(count: Cell) -> Cell:
    return "<5" if isinstance(count, int | float) and not count >= SMALL_CELL else count


def _parts(counts: Mapping[str, Cell]) -> dict[str, Cell]:
    """Counts that add up to a total which other figures give away: so many are withheld that a small one may be none,
    or four, or any between. What was released before stays as it is.
    """
    if any(isinstance(count, str) for count in counts.values()):
        return {name: _cell(count) for name, count in counts.items()}
    shown = {name: _cell(count) for name, count in counts.items()}
    numbers = {name: count for name, count in shown.items() if not isinstance(count, str)}
    small, hidden = len(counts) - len(numbers), [count for name, count in counts.items() if name not in numbers]
    rest = sum(float(count) for count in hidden)
    withheld = 0
    while small and numbers and not _is_open(small, withheld, rest, min(numbers.values())):
        smallest = min(numbers, key=lambda name: numbers[name])
        rest += numbers.pop(smallest)
        shown[smallest], withheld = "withheld", withheld + 1
    return shown


def _is_open(small: int, withheld: int, rest: float, most: float) -> bool:
    """Whether one of so many small counts may be anything from 0 to 4, where these and those withheld, each of which is
    from 5 to `most`, come to `rest`.
    """
    largest = SMALL_CELL - 1
    return rest - largest * (small - 1) - most * withheld <= 0 and rest - SMALL_CELL * withheld >= largest


def _round(entry: RoundEvidence, *, hidden: bool) -> RoundEvidence:
    """hidden: how many validation patients there are is withheld"""
    metrics = entry.metrics
    if metrics is None or _few(metrics):
        return replace(entry, metrics=None)
    if hidden and not half_of_cases(metrics):
        return replace(entry, metrics={name: value for name, value in metrics.items() if name != "cases"})
    return entry


def _few(metrics: Mapping[str, float]) -> bool:
    """Measures of a handful of patients say how each of them was scored, unless noise hides how many they are."""
    if 2 * half_of_cases(metrics) > SMALL_CELL:
        return False
    return "cases" in metrics and not metrics["cases"] >= SMALL_CELL


def _withheld(comparisons: tuple[Comparison, ...]) -> tuple[str, ...]:
    labels = [entry.label for entry in comparisons if _few(entry.metrics)]
    return tuple(f"{label}: not shown, it was measured on fewer than {SMALL_CELL} patients." for label in labels)
