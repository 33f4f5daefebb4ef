"""Charts as geometry: scales, ticks, points. The template draws them as SVG, in the page's own colours.

Units are SVG user units, one to a CSS pixel at full width; y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

Point = tuple[float, float]
Label = Callable[[float], str]
LARGEST = 1e15
MOST_POINTS = 240  # of one line; more are thinned, the file has them all


@dataclass(frozen=True)
class Scale:
    """Maps low..high to start..end, in a straight line."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.start + share * (self.end - self.start), 2)


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """`path`: the points of an SVG polyline; `dots`: its points where they are few; `end`: where its name stands."""

    name: str
    style: str
    path: str
    dots: tuple[Point, ...]
    end: Point


@dataclass(frozen=True)
class Rule:
    """A straight dashed line with its name: level (a horizontal one, the name at `name_y`) or upright."""

    name: str
    at: float
    level: bool
    name_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    style: str


@dataclass(frozen=True)
class Chart:
    """A drawn chart. `title` and `text` are what a reader hears who does not see it."""

    key: str
    title: str
    text: str
    width: float
    height: float
    frame: tuple[float, float, float, float]  # left, top, right, bottom of the plot itself
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_name: str = ""
    lines: tuple[Line, ...] = ()
    rules: tuple[Rule, ...] = ()
    bars: tuple[Bar, ...] = ()
    zero: float | None = None


def drawable(*values: float) -> bool:
    """Whether all values are numbers that a chart can hold."""
    return all(abs(value) < LARGEST for value in values)


@dataclass(frozen=True)
class Series:
    """A line to draw. Points that are not finite, or larger than any measure is, are left out."""

    name: str
    points: Sequence[Point]
    style: str = "first"  # first: solid; second: dashed; both differ in more than colour

    @property
    def finite(self) -> list[Point]:
        return [point for point in self.points if drawable(*point)]


@dataclass(frozen=True)
class Canvas:
    """Sizes of a chart, margins inside it, and how its values are written."""

    width: float
    height: float
    left: float = 48
    right: float = 24
    top: float = 14
    bottom: float = 34
    y_count: int = 4
    label: Label | None = None  # how values are written; None: with as many decimals as the ticks need


def steps(low: float, high: float, count: int) -> list[float]:
    """About `count` round values (1, 2 or 5 times a power of ten apart) from at or below low to at or above high."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-3):
        room = 0.5 * abs(low) if abs(low) > 1e-3 else 0.5
        low, high = low - room, high + room
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    gap = next(gap * power for gap in (1, 2, 5, 10) if gap * power >= rough * 0.999)
    first, last = math.floor(low / gap + 1e-9), math.ceil(high / gap - 1e-9)
    return [round(index * gap, 12) for index in range(first, last + 1)]


def ticks(values: Sequence[float], scale: Callable[[float], float], label: Label | None = None) -> tuple[Tick, ...]:
    """A tick at each value, all with the same number of decimals unless `label` writes them."""
    digits = max((len(f"{value:.6f}".rstrip("0").partition(".")[2]) for value in values), default=0)
    write = label or (lambda value: f"{value:.{digits}f}".replace("-", "−"))
    return tuple(Tick(scale(value), write(value)) for value in values)


def thinned(points: list[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most about `most` points, evenly taken, the last always among them."""
    stride = max(1, math.ceil(len(points) / most))
    kept = points[::stride]
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def line_chart(
    key: str,
    title: str,
    text: str,
    series: Sequence[Series],
    canvas: Canvas,
    *,
    levels: Sequence[tuple[str, float]] = (),
    mark: tuple[str, float] | None = None,
    from_zero: bool = False,
) -> Chart | None:
    """Lines over rounds; None where nothing is finite. `levels` are horizontal rules, `mark` an upright one."""
    drawn = [entry for entry in series if entry.finite]
    if not drawn:
        return None
    every = [point for entry in drawn for point in entry.finite]
    heights = [y for _, y in every] + [level for _, level in levels] + ([0.0] if from_zero else [])
    y_values = steps(min(heights), max(heights), canvas.y_count)
    right, bottom = canvas.width - canvas.right, canvas.height - canvas.bottom
    x = Scale(min(x for x, _ in every), max(x for x, _ in every), canvas.left, right)
    y = Scale(y_values[0], y_values[-1], bottom, canvas.top)
    lines, rules = _named_apart(
        [_line(entry, x, y) for entry in drawn], [Rule(name, y(value), True, y(value)) for name, value in levels]
    )
    return Chart(
        key,
        title,
        text,
        canvas.width,
        canvas.height,
        (canvas.left, canvas.top, right, bottom),
        _round_ticks(x, canvas),
        ticks(y_values, y, canvas.label),
        x_name="round",
        lines=lines,
        rules=(*rules, *_mark(mark, x)),
    )


def _line(series: Series, x: Scale, y: Scale) -> Line:
    points = [(x(a), y(b)) for a, b in thinned(series.finite)]
    dots = tuple(points) if len(points) <= 40 else (points[-1],)
    return Line(series.name, series.style, " ".join(f"{a:g},{b:g}" for a, b in points), dots, points[-1])


def _named_apart(lines: Sequence[Line], rules: Sequence[Rule]) -> tuple[tuple[Line, ...], tuple[Rule, ...]]:
    """Names at the right edge, moved up or down until none covers another."""
    places = apart([*(line.end[1] for line in lines), *(rule.at for rule in rules)])
    return (
        tuple(replace(line, end=(line.end[0], at)) for line, at in zip(lines, places, strict=False)),
        tuple(replace(rule, name_y=at) for rule, at in zip(rules, places[len(lines) :], strict=True)),
    )


def apart(places: Sequence[float], gap: float = 15) -> list[float]:
    """The same places in the same order, at least `gap` from each other: lower ones give way, then all go back."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    shift = (sum(moved) - sum(places)) / max(len(places), 1)
    return [round(place - shift, 2) for place in moved]


def _mark(mark: tuple[str, float] | None, x: Scale) -> tuple[Rule, ...]:
    if mark is None or not x.low <= mark[1] <= x.high:
        return ()
    at = x(mark[1])
    return (Rule(mark[0], at, False, anchor="end" if at > (x.start + x.end) / 2 else "start"),)


def _round_ticks(x: Scale, canvas: Canvas) -> tuple[Tick, ...]:
    """Whole rounds only."""
    most = max(2, int((canvas.width - canvas.left - canvas.right) / 60))
    values = [value for value in steps(x.low, x.high, most) if value == int(value) and x.low <= value <= x.high]
    values = values if x.high > x.low and values else [x.low]
    return tuple(Tick(x(value), f"{int(value)}") for value in values)


@dataclass(frozen=True)
class Group:
    """Some rounds in a row, drawn as one pair of bars: `up` above the line and `down` below it."""

    name: str
    up: float
    down: float


def bar_chart(key: str, title: str, text: str, groups: Sequence[Group], canvas: Canvas) -> Chart | None:
    """Bars above and below a line, one pair a group; None without groups."""
    if not groups:
        return None
    highest, lowest = max(group.up for group in groups), max(group.down for group in groups)
    y_values = steps(-lowest, highest or 1.0, canvas.y_count)
    right, bottom = canvas.width - canvas.right, canvas.height - canvas.bottom
    y = Scale(y_values[0], y_values[-1], bottom, canvas.top)
    wide = (right - canvas.left) / len(groups)
    every = max(1, math.ceil(len(groups) * 46 / (right - canvas.left)))
    middles = [canvas.left + (place + 0.5) * wide for place in range(len(groups))]
    return Chart(
        key,
        title,
        text,
        canvas.width,
        canvas.height,
        (canvas.left, canvas.top, right, bottom),
        tuple(Tick(round(middles[place], 2), groups[place].name) for place in range(0, len(groups), every)),
        ticks(y_values, y, lambda value: (canvas.label or "{:g}".format)(abs(value))),
        x_name="round",
        bars=tuple(bar for at, group in zip(middles, groups, strict=True) for bar in _pair(at, wide, group, y)),
        zero=y(0),
    )


def _pair(middle: float, wide: float, group: Group, y: Scale) -> list[Bar]:
    width = round(min(0.7 * wide, 34), 2)
    left = round(middle - width / 2, 2)
    up, down = y(0) - y(group.up), y(-group.down) - y(0)
    bars = [Bar(left, y(group.up), width, round(up, 2), "first"), Bar(left, y(0), width, round(down, 2), "second")]
    return [bar for bar in bars if bar.height > 0]
