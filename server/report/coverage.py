"""Who has what: cases by split, modality and class, by site in a simulation and as one sum otherwise.

Counts with the noise of privacy are written as `server.report.counts` has it; a share of them is a number, and has a
bar, where its count is one and its interval is no wider than .1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.report import text
from server.report.counts import HIDDEN, half_of, is_number, share_ends, wider_than, written_count
from server.report.evidence import NOT_COUNTED, Cell, Coverage
from server.report.noise import WIDEST
from server.report.release import SMALL_CELL, WITHHELD


@dataclass(frozen=True)
class Share:
    """A count and its part of the row's cases: `share` in [0, 1], or None where either is not known; `percent` is empty
    where nothing is known of the share, and else a number or its interval.
    """

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
    noisy: bool = False  # whether the sum is written by its known noise
    rounded: bool = False  # whether small counts are hidden, and the others rounded
    withheld: bool = False  # whether any is withheld beside a small one


def coverage_table(
    coverage: Sequence[Coverage], over: str = "all sites", *, released: bool = False
) -> CoverageTable | None:
    """None where nothing was counted. The sum stands last. `over`: the sites that are in it, in words.

    released: whether small counts were hidden, and the others rounded, where no noise hid them
    """
    if not coverage:
        return None
    ordered = sorted(coverage, key=lambda entry: entry.site is None)
    splits, modalities, classes = (
        tuple(dict.fromkeys(name for entry in coverage for name in getattr(entry, part)))
        for part in ("cases", "present", "classes")
    )
    sds = [entry.noise for entry in coverage if entry.site is None]
    rounded = released and not any(wider_than(sd, SMALL_CELL) for sd in sds)
    error = SMALL_CELL / 2 if rounded else 0.0
    rows = tuple(_row(entry, splits, modalities, classes, over, error) for entry in ordered)
    withheld = any(WITHHELD in (*entry.cases.values(), *entry.present.values()) for entry in coverage)
    return CoverageTable(splits, modalities, classes, rows, any(sds), rounded, withheld)


def _row(
    entry: Coverage,
    splits: Sequence[str],
    modalities: Sequence[str],
    classes: Sequence[str],
    over: str,
    error: float,
) -> Row:
    """error: the most by which rounding has changed a count; it is part of the interval of a noisy one"""
    half = half_of(entry.noise) + error if entry.noise else 0.0
    return Row(
        f"{over[:1].upper()}{over[1:]}" if entry.site is None else entry.site,
        entry.site is None,
        tuple(written_count(entry.cases.get(name, 0.0), half) for name in splits),
        _shares(entry.present, modalities, entry.cases, entry.noise, error),
        _shares(entry.classes, classes, entry.classes, entry.noise, error),
    )


def _total(counts: Mapping[str, Cell]) -> float | None:
    there = [count for count in counts.values() if count != NOT_COUNTED]
    numbers = [count for count in there if not isinstance(count, str)]
    return sum(numbers) if len(numbers) == len(there) else None


def _shares(
    counts: Mapping[str, Cell], names: Sequence[str], of: Mapping[str, Cell], noise: float, error: float
) -> tuple[Share, ...]:
    """The shares of these counts in the total of others."""
    total = _total(of)
    if noise:
        half, whole_half = half_of(noise) + error, half_of(noise, len(of)) + len(of) * error
        return tuple(_noisy_share(counts.get(name, 0.0), total, half, whole_half) for name in names)
    total = total if total is not None and total > 0 else None
    return tuple(_share(counts.get(name, 0.0), total) for name in names)


def _share(count: Cell, total: float | None) -> Share:
    known = total is not None and not isinstance(count, str)
    share = min(max(float(count) / total, 0.0), 1.0) if known and total else None
    share = None if share is None or share != share else round(share, 4)  # noqa: PLR0124 (nan)
    return Share(text.count(count), "" if share is None else text.percent(count, total), share)


def _noisy_share(count: Cell, total: float | None, half: float, whole_half: float) -> Share:
    """The share of a count in a total, each with half of its 95 % interval."""
    if isinstance(count, str) or total is None or not math.isfinite(count + total):
        return Share(written_count(count, half), "", None)
    written = written_count(count, half, max(0.0, math.ceil(total + whole_half)))
    low, high = share_ends(count, half, total, whole_half)
    if is_number(count, half) and high - low <= WIDEST and count <= total:
        return Share(written, text.percent(count, total), round(count / total, 4))
    if written == HIDDEN or (low, high) == (0.0, 1.0):
        return Share(written, "", None)
    return Share(written, f"{100 * low:.0f} to {text.percent(high, 1.0)}", None)
