"""Who has what: cases by split, modality and class, by site in a simulation and as one sum otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.report import text
from server.report.evidence import Cell, Coverage


@dataclass(frozen=True)
class Share:
    """A count and its part of the row's cases: `share` in [0, 1], or None where either is not known."""

    count: str
    percent: str
    share: float | None


@dataclass(frozen=True)
class Row:
    name: str
    total: bool
    cases: tuple[str, ...]
    present: tuple[Share, ...]
    classes: tuple[Share, ...]


@dataclass(frozen=True)
class CoverageTable:
    splits: tuple[str, ...]
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    rows: tuple[Row, ...]


def coverage_table(coverage: Sequence[Coverage]) -> CoverageTable | None:
    """None where nothing was counted. The sum stands last."""
    if not coverage:
        return None
    ordered = sorted(coverage, key=lambda entry: entry.site is None)
    splits, modalities, classes = (
        tuple(dict.fromkeys(name for entry in coverage for name in getattr(entry, part)))
        for part in ("cases", "present", "classes")
    )
    rows = tuple(_row(entry, splits, modalities, classes) for entry in ordered)
    return CoverageTable(splits, modalities, classes, rows)


def _row(entry: Coverage, splits: Sequence[str], modalities: Sequence[str], classes: Sequence[str]) -> Row:
    return Row(
        "All sites" if entry.site is None else entry.site,
        entry.site is None,
        tuple(text.count(entry.cases.get(name, 0.0)) for name in splits),
        _shares(entry.present, modalities, _total(entry.cases)),
        _shares(entry.classes, classes, _total(entry.classes)),
    )


def _total(counts: Mapping[str, Cell]) -> float | None:
    numbers = [count for count in counts.values() if not isinstance(count, str)]
    total = sum(numbers)
    return total if len(numbers) == len(counts) and total > 0 else None


def _shares(counts: Mapping[str, Cell], names: Sequence[str], total: float | None) -> tuple[Share, ...]:
    return tuple(_share(counts.get(name, 0.0), total) for name in names)


def _share(count: Cell, total: float | None) -> Share:
    known = total is not None and not isinstance(count, str)
    share = min(max(float(count) / total, 0.0), 1.0) if known and total else None
    share = None if share is None or share != share else round(share, 4)  # noqa: PLR0124 (nan)
    return Share(text.count(count), text.percent(count, total), share)
