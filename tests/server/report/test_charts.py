"""Charts: whatever the numbers are, the drawing stays inside its frame and its ticks tell the truth."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.report.charts import Canvas, Group, Scale, Series, apart, bar_chart, line_chart, steps, thinned, ticks

CANVAS = Canvas(400, 200)
values = st.floats(-1e9, 1e9) | st.floats(0, 1) | st.just(math.nan)
points = st.lists(st.tuples(st.integers(0, 100_000).map(float), values), min_size=1, max_size=40)


def draw(found, **more):
    return line_chart("key", "title", "text", [Series("name", found)], CANVAS, **more)


@settings(max_examples=200, deadline=None)
@given(points, values, st.booleans())
def test_every_point_is_inside_the_frame(found, level, from_zero):
    levels = [] if math.isnan(level) else [("budget", level)]
    chart = draw(found, levels=levels, from_zero=from_zero, mark=("kept", found[0][0]))
    if chart is None:
        assert all(math.isnan(y) for _, y in found)
        return
    left, top, right, bottom = chart.frame
    drawn = [tuple(map(float, pair.split(","))) for pair in chart.lines[0].path.split()]
    for x, y in [*drawn, *((tick.at, top) for tick in chart.x_ticks), *((left, tick.at) for tick in chart.y_ticks)]:
        assert left - 0.1 <= x <= right + 0.1 and top - 0.1 <= y <= bottom + 0.1
    assert all(top - 0.1 <= rule.at <= bottom + 0.1 for rule in chart.rules if rule.level)


def test_a_higher_value_is_drawn_higher_and_a_later_round_further_right():
    (first, second) = (tuple(map(float, pair.split(","))) for pair in draw([(1, 0.5), (2, 0.8)]).lines[0].path.split())
    assert first[0] < second[0] and first[1] > second[1]


def test_one_round_is_a_dot_in_the_middle():
    chart = draw([(7.0, 0.8)])
    assert chart.x_ticks[0].text == "7" and len(chart.lines[0].dots) == 1


def test_nothing_finite_is_no_chart():
    assert draw([(1, math.nan), (2, math.inf)]) is None
    assert line_chart("key", "title", "text", [], CANVAS) is None
    assert bar_chart("key", "title", "text", [], CANVAS) is None


def test_rounds_are_whole():
    assert all(float(tick.text).is_integer() for tick in draw([(1, 0.1), (2, 0.2), (3, 0.3)]).x_ticks)


def test_a_mark_outside_the_drawn_rounds_is_not_drawn():
    assert draw([(1, 0.1), (2, 0.2)], mark=("kept", 9.0)).rules == ()


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6), st.integers(2, 8))
def test_steps_are_round_and_enclose(low, span, count):
    found = steps(low, low + span, count)
    assert found[0] <= low + 1e-6 * span and found[-1] >= low + span - 1e-6 * span
    gaps = [after - before for before, after in pairwise(found)]
    assert len(found) <= count + 3
    mantissa = gaps[0] / 10 ** math.floor(math.log10(gaps[0]) + 1e-6)
    assert any(math.isclose(mantissa, nice, rel_tol=1e-3) for nice in (1, 2, 5, 10))


def test_no_two_ticks_read_the_same():
    found = ticks([0.1, 0.15, 0.2], Scale(0, 1, 0, 100))
    assert [tick.text for tick in found] == ["0.10", "0.15", "0.20"]
    assert [tick.at for tick in found] == [10, 15, 20]


@given(st.lists(st.floats(0, 300), max_size=6))
def test_names_never_cover_each_other(places):
    moved = apart(places, 15)
    assert all(b - a >= 14.9 for a, b in pairwise(sorted(moved)))
    order = sorted(range(len(places)), key=lambda index: places[index])
    assert [moved[index] for index in order] == sorted(moved)


@given(st.integers(0, 5000))
def test_thinning_keeps_the_ends(length):
    found = [(float(place), 0.0) for place in range(length)]
    kept = thinned(found, 100)
    assert len(kept) <= 101 and kept == sorted(kept)
    assert not found or (kept[0], kept[-1]) == (found[0], found[-1])


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)), min_size=1, max_size=60))
def test_bars_have_the_lengths_of_their_values(found):
    chart = bar_chart("key", "title", "text", [Group(str(n), up, down) for n, (up, down) in enumerate(found)], CANVAS)
    left, top, right, bottom = chart.frame
    for bar in chart.bars:
        assert bar.height > 0 and left <= bar.x and bar.x + bar.width <= right + 0.1
        assert top - 0.1 <= bar.y and bar.y + bar.height <= bottom + 0.1
    tallest = max(up for up, _ in found)
    tall = [bar.height for bar in chart.bars if bar.style == "first"]
    if tallest > 0 and tall:
        one = next(bar for bar in chart.bars if bar.style == "first" and bar.height == max(tall))
        assert one.y + one.height == pytest.approx(chart.zero, abs=0.1)
