"""Each mistake in a file is named with its place and line, and what is left of the file can be read on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import StudyError
from common.file_mistakes import lines_of, place_in
from common.study import parse_study, study_in_part, study_text

WHOLE = """\
schema: 1
study: whole
task: {kind: binary, classes: [alive, dead]}
modalities:
  scan:
    kind: image
    intensity: window
    window: [40, 400]
  chart:
    kind: record
    numeric:
      age: {low: 0, high: 110}
    categorical: {smoker: [never, past]}
rounds: 3
training:
  local_steps: 4
privacy: {mode: none}
"""


def with_line(old: str, new: str) -> str:
    assert WHOLE.count(old) == 1
    return WHOLE.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("  local_steps: 4", "  local_stepz: 4", 16, "training.local_stepz: unknown key; did you mean local_steps?"),
        ("training:", "trainings:", 15, "trainings: unknown key; did you mean training?"),
        ("    window: [40", "    windows: [40", 8, "modalities.scan.image.windows: unknown key; did you mean window?"),
        ("age: {low: 0, high", "age: {low: 0, hihg", 12, "hihg: unknown key; did you mean high?"),
        ("  local_steps: 4", "  zzz: 4", 16, "training.zzz: unknown key; remove it"),
        ("rounds: 3", "rounds: 0", 14, "rounds: Input should be greater than or equal to 1"),
        ("age: {low: 0, high: 110}", "age: {low: 0}", 12, "modalities.chart.record.numeric.age.high: missing"),
        ("age: {low: 0,", "age: {low: 200,", 12, "modalities.chart.record.numeric.age: low must be below high"),
    ],
)
def test_a_mistake_has_its_line_and_the_nearest_key(old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(StudyError) as refused:
        parse_study(with_line(old, new))
    (first, *_) = [told for told in str(refused.value).splitlines() if said in told]
    assert first.endswith(f"(line {line})"), first
    parse_study(WHOLE)


def test_a_name_that_the_study_gives_is_no_key_to_be_corrected() -> None:
    """`ages` of a record's columns is near to `age`, and is the study's own word."""
    _, told = study_in_part(with_line("age: {low: 0, high: 110}", "ages: {low: 0, highs: 110}"))
    assert any("did you mean high?" in line for line in told) and not any("did you mean age" in line for line in told)


def test_what_is_wrong_behind_a_mistake_is_named_with_it() -> None:
    """Numbers without end, and fields that do not go together, are found by what the whole says: after each key."""
    text = with_line("  local_steps: 4", "  local_stepz: 4").replace("[40, 400]", "[.inf, .nan]")
    found, told = study_in_part(text.replace("low: 0", "low: -.inf"))
    assert len(told) == 2 and "local_stepz" in told[0]
    for place in ("modalities.scan.window.0", "modalities.scan.window.1", "modalities.chart.numeric.age.low"):
        assert place in told[1]
    assert found is not None and found.study == "whole"
    assert math.isfinite(found.modalities["chart"].numeric["age"].low)  # type: ignore[union-attr]


@pytest.mark.parametrize("rounds", ["rounds: 0\n", "rounds: many\n", ""])
def test_what_must_be_there_and_is_not_keeps_nobody_from_reading_on(rounds: str) -> None:
    """It is told once, and not as missing where it was there and wrong."""
    found, told = study_in_part(with_line("rounds: 3\n", rounds))
    assert len(told) == 1 and told[0].startswith("rounds: ") and ("missing" in told[0]) == (not rounds)
    assert found is not None and [*found.modalities] == ["scan", "chart"]


def test_of_a_right_file_all_is_read() -> None:
    found, told = study_in_part(WHOLE)
    assert told == [] and found == parse_study(WHOLE)


@pytest.mark.parametrize("text", ["[]", "3", ""])
def test_too_little_to_read_on_is_none(text: str) -> None:
    found, told = study_in_part(text)
    assert found is None and told


def places(value: Any) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(key, *more) for key, inner in items for more in [(), *places(inner)]]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_whatever_stands_anywhere_is_refused_or_read_and_never_loops(data) -> None:
    """Other values at several places of a whole study: reading on ends, and says nothing was wrong only where it is
    read as it stands.
    """
    content = yaml.safe_load(study_text(parse_study(WHOLE)))
    odd = st.sampled_from([None, -1, 0, "x", [], {}, {"a": 1}, math.nan, math.inf, [None], True, 1e308])
    for _ in range(data.draw(st.integers(1, 4))):
        *above, last = data.draw(st.sampled_from(places(content)))
        inner = content
        for part in above:
            inner = inner[part]
        inner[last] = data.draw(odd)
    text = yaml.safe_dump(content)
    try:
        found, told = study_in_part(text)
    except StudyError:
        return  # no mode of privacy, another schema
    if told:
        with pytest.raises(StudyError):
            parse_study(text)
    else:
        assert found == parse_study(text)


def test_places_and_lines_of_a_file() -> None:
    value, lines = yaml.safe_load(WHOLE), lines_of(WHOLE)
    assert place_in(value, ("modalities", "chart", "record", "numeric", "age", "hihg")) == (
        "modalities", "chart", "numeric", "age",
    )  # fmt: skip
    assert lines["modalities", "chart", "numeric", "age"] == 12 and lines["task", "classes", 1] == 3
