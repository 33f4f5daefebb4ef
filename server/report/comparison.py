"""The comparison of models on the same test patients: one table whose rows carry their own bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.tasks import MEASURES, measure_of
from server.report import text
from server.report.charts import Scale, Tick, drawable, steps, ticks
from server.report.counts import HIDDEN, written_cases
from server.report.evidence import Comparison
from server.report.noise import half_width, says_something, written
from server.report.verdict import best

WIDTH, MARGIN = 260.0, 12.0
_ORDER = ("federated", "federated_non_private", "pooled", "alone", "single_modality")
_WRITTEN = "What is known of a measure is written as an interval."
_PLAIN = ("pooled", "alone", "single_modality")  # never trained with noise
_KINDS = {
    "federated": "trained together: this run’s model",
    "federated_non_private": "trained together, without privacy",
    "pooled": "everyone’s data in one place",
    "alone": "one site by itself",
    "single_modality": "one modality only",
}


@dataclass(frozen=True)
class Row:
    """A model: its bar from `x` for `width` (None without a value), the ends of its interval, its numbers."""

    label: str
    kind: str
    what: str
    note: str
    x: float
    width: float | None
    interval: tuple[float, float] | None
    value: str
    interval_text: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ComparisonTable:
    """`reference`: where the federated model's bar ends, drawn through all rows; `names`: of the further columns.

    hidden: why no bar is drawn, as a sentence; empty where one is
    """

    measure: str
    ticks: tuple[Tick, ...]
    zero: float
    zero_text: str
    reference: float | None
    rows: tuple[Row, ...]
    names: tuple[str, ...]
    hidden: str
    width: float = WIDTH


def comparison_table(comparisons: Sequence[Comparison], key: str, *, private: bool = False) -> ComparisonTable | None:
    """None where nothing was compared. `private`: the run had noise, and the models beside it had none."""
    if not comparisons:
        return None
    ordered = sorted(comparisons, key=lambda entry: (_ORDER.index(entry.kind), -_rank(entry, key)))
    chance = measure_of(key).chance
    base = chance or 0.0
    x = _scale(comparisons, key, base)
    others = tuple(name for name in MEASURES if name != key and any(name in e.metrics for e in comparisons))
    others += ("cases",) if any("cases" in entry.metrics for entry in comparisons) else ()
    federated = best(comparisons, "federated", key)
    rows = tuple(_row(entry, key, x, base, others, private) for entry in ordered)
    return ComparisonTable(
        text.measure_name(key),
        ticks([value for value in steps(x.low, x.high, 5) if x.low <= value <= x.high], x),
        x(base),
        "" if chance is None else "chance",
        x(federated.metrics[key]) if federated and _drawn(federated, key) else None,
        rows,
        tuple("Cases" if name == "cases" else text.measure_name(name, short=True) for name in others),
        "" if any(row.width is not None for row in rows) else _hidden(comparisons, key),
    )


def _hidden(comparisons: Sequence[Comparison], key: str) -> str:
    """Return why no score can be drawn."""
    if any(half_width(entry.metrics, key) for entry in comparisons):
        return f"No bar is drawn: the noise of privacy is wider than .1. {_WRITTEN}"
    if all(not entry.metrics for entry in comparisons):
        return "No score is shown: it would be of fewer than 5 patients, or of as few of one class."
    return "No bar is drawn: this measure is not defined for these patients."


def _rank(entry: Comparison, key: str) -> float:
    rank = measure_of(key).rank(entry.metrics)
    return rank if math.isfinite(rank) else -math.inf


def _scale(comparisons: Sequence[Comparison], key: str, base: float) -> Scale:
    values = [base, base + 0.1]
    for entry in comparisons:
        values += [entry.metrics.get(key, math.nan), *(entry.interval or ())]
    finite = [value for value in values if drawable(value)]
    ends = steps(min(finite), max(finite), 5)
    return Scale(ends[0], ends[-1], MARGIN, WIDTH - MARGIN)


def _drawn(entry: Comparison, key: str) -> bool:
    return drawable(entry.metrics.get(key, math.nan)) and says_something(entry.metrics, key)


def _row(entry: Comparison, key: str, x: Scale, base: float, others: Sequence[str], private: bool) -> Row:
    value = entry.metrics.get(key, math.nan)
    finite = _drawn(entry, key)
    known = written(entry.metrics, key)
    ends = entry.interval if finite and entry.interval and drawable(*entry.interval) else None
    return Row(
        entry.label,
        entry.kind,
        _KINDS[entry.kind] + (", no noise" if private and entry.kind in _PLAIN else ""),
        entry.note,
        min(x(base), x(value)) if finite else x(base),
        round(abs(x(value) - x(base)), 2) if finite else None,
        (x(ends[0]), x(ends[1])) if ends else None,
        known,
        f"{text.number(ends[0])} to {text.number(ends[1])}" if ends else _unknown(entry, key),
        tuple(_number(entry, name) for name in others),
    )


def _unknown(entry: Comparison, key: str) -> str:
    """Beside a score that the noise hides."""
    scored = math.isfinite(entry.metrics.get(key, math.nan)) or half_width(entry.metrics, key) > 0
    return HIDDEN if scored and not says_something(entry.metrics, key) else ""


def _number(entry: Comparison, name: str) -> str:
    return written_cases(entry.metrics) if name == "cases" else written(entry.metrics, name)
