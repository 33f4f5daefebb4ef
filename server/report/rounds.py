"""Round after round: measures, epsilon, bytes and drop-outs, as charts and as one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.tasks import MEASURES, measure_of
from server.lost import stored_words
from server.report import text
from server.report.charts import Canvas, Chart, Group, Point, Series, bar_chart, drawable, line_chart, thinned
from server.report.evidence import RoundEvidence
from server.report.noise import says_something, written

MOST_ROWS, MOST_BARS = 120, 60
WITHOUT = "Without"
_WIDE = Canvas(880, 250, left=52, right=112, top=22)
_HALF = Canvas(430, 210, left=58, right=12)


def metric_charts(
    rounds: Sequence[RoundEvidence], key: str, selected: int | None
) -> tuple[Chart | None, tuple[Chart, ...]]:
    """The leading measure large, the others small; without what was never measured."""
    mark = None if selected is None else (f"model kept: round {selected}", float(selected))
    large = _metric(rounds, key, _WIDE, mark)
    small = (_metric(rounds, name, Canvas(430, 150, left=52, right=64, y_count=3), None) for name in MEASURES)
    return large, tuple(chart for chart in small if chart is not None and chart.key != f"metric-{key}")


def _metric(rounds: Sequence[RoundEvidence], key: str, canvas: Canvas, mark: tuple[str, float] | None) -> Chart | None:
    points = [
        (float(entry.round), entry.metrics[key])
        for entry in rounds
        if entry.metrics is not None and says_something(entry.metrics, key)
    ]
    series = Series("", points)
    if not series.finite:
        return None
    measure = measure_of(key)
    name, more = measure.name, measure.more_is_better
    better = "higher is better" if more else "lower is better"
    last = series.finite[-1][1]
    drawn = Series(text.number(last), points)
    return line_chart(
        f"metric-{key}", f"{name} ({better})", _story(name, series.finite, more), [drawn], canvas, mark=mark
    )


def _story(name: str, points: Sequence[Point], more: bool) -> str:
    (first, start), (last, end) = points[0], points[-1]
    top = (max if more else min)(points, key=lambda point: point[1])
    return (
        f"{name} on validation patients: {text.number(start)} in round {first:.0f}, {text.number(end)} in round "
        f"{last:.0f}, best {text.number(top[1])} in round {top[0]:.0f}."
    )


def privacy_chart(rounds: Sequence[RoundEvidence], privacy: Mapping[str, Any]) -> Chart | None:
    """Epsilon spent, and the budget as a dashed line; None without privacy."""
    training = Series("training", [(float(e.round), e.epsilon) for e in rounds if e.epsilon is not None])
    held_out = Series(
        "held out", [(float(e.round), e.held_out_epsilon) for e in rounds if e.held_out_epsilon is not None], "second"
    )
    budget = privacy.get("epsilon")
    levels = [(f"budget {budget:g}", float(budget))] if isinstance(budget, int | float) and drawable(budget) else []
    if not training.finite and not held_out.finite:
        return None
    last = max(series.finite[-1][1] for series in (training, held_out) if series.finite)
    story = f"Epsilon spent by round, {text.number(last, 2)} at the end"
    story += f"; the study allows {budget:g}." if levels else "."
    return line_chart("epsilon", "Epsilon spent", story, [training, held_out], _WIDE, levels=levels, from_zero=True)


def traffic_charts(rounds: Sequence[RoundEvidence]) -> tuple[Chart, ...]:
    """Bytes up and down, and sites that took part or dropped out."""
    if not rounds:
        return ()
    stride = math.ceil(len(rounds) / MOST_BARS)
    each = "" if stride == 1 else f" (a bar: the mean of {stride} rounds)"
    worst = "" if stride == 1 else f" (a bar: the worst of {stride} rounds)"
    sizes = bar_chart(
        "bytes",
        f"Bytes from the sites (up) and to them (down){each}",
        _extent("Bytes a round", [entry.bytes_up for entry in rounds], [entry.bytes_down for entry in rounds]),
        _grouped(
            rounds,
            stride,
            lambda some: _mean([e.bytes_up for e in some]),
            lambda some: _mean([e.bytes_down for e in some]),
        ),
        Canvas(430, 210, left=62, right=12, label=text.size),
    )
    sites = bar_chart(
        "sites",
        f"Sites in the sum (up) and dropped (down){worst}",
        _attendance([e.sites for e in rounds], max(e.dropped for e in rounds)),
        _grouped(rounds, stride, lambda some: min(e.sites for e in some), lambda some: max(e.dropped for e in some)),
        _HALF,
    )
    return tuple(chart for chart in (sizes, sites) if chart is not None)


Of = Callable[[Sequence[RoundEvidence]], float]


def _grouped(rounds: Sequence[RoundEvidence], stride: int, up: Of, down: Of) -> list[Group]:
    parts = [rounds[start : start + stride] for start in range(0, len(rounds), stride)]
    return [Group(str(part[0].round), max(up(part), 0), max(down(part), 0)) for part in parts]


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def _extent(what: str, up: Sequence[int], down: Sequence[int]) -> str:
    return f"{what}: at most {text.size(max(up))} from the sites together and {text.size(max(down))} to them."


def _attendance(sites: Sequence[int], dropped: int) -> str:
    least, most = min(sites), max(sites)
    there = (
        f"{most} sites took part in every round" if least == most else f"{least} to {most} sites took part in a round"
    )
    return f"{there}; {f'at most {dropped} drop-outs in one' if dropped else 'none dropped out'}."


def round_rows(rounds: Sequence[RoundEvidence]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Column names and rows of the table; beyond MOST_ROWS rounds, evenly taken ones."""
    measures = [name for name in MEASURES if any(name in (entry.metrics or {}) for entry in rounds)]
    names = ("Round", "Sites", "Dropped", "Why", "Time", "Up", "Down", "Steps", "Epsilon", "Held out ε")
    places = [int(place) for place, _ in thinned([(float(place), 0.0) for place in range(len(rounds))], MOST_ROWS)]
    without = any(entry.without for entry in rounds)
    rows = tuple(_row(rounds[place], measures, without=without) for place in places)
    return (*names, *((WITHOUT,) if without else ()), *(text.measure_name(name, short=True) for name in measures)), rows


def _row(entry: RoundEvidence, measures: Sequence[str], *, without: bool) -> tuple[str, ...]:
    metrics = entry.metrics or {}
    return (
        str(entry.round),
        text.count(entry.sites),
        text.count(entry.dropped),
        ", ".join(f"{stored_words(reason)}: {times}" for reason, times in entry.drop_reasons.items()),
        text.duration(entry.seconds),
        text.size(entry.bytes_up),
        text.size(entry.bytes_down),
        text.count(entry.steps),
        text.number(entry.epsilon, 2),
        text.number(entry.held_out_epsilon, 2),
        *((", ".join(entry.without),) if without else ()),
        *(written(metrics, name) for name in measures),
    )
