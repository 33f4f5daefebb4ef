"""Each mistake in a file is named with its place and line, and what is left of the file can be read on."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from client.site import SiteFile
from common import schema as border
from common.errors import StudyError
from common.file_mistakes import lines_of, place_in, place_of, said, told_once, value_at
from common.study import Study, parse_study, study_in_part, study_text

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
        ("    window: [40", "    windows: [40", 8, "modalities.scan.windows: unknown key; did you mean window?"),
        ("age: {low: 0, high", "age: {low: 0, hihg", 12, "hihg: unknown key; did you mean high?"),
        ("  local_steps: 4", "  zzz: 4", 16, "training.zzz: unknown key; remove it"),
        ("rounds: 3", "rounds: 0", 14, "rounds: write a number of at least 1"),
        ("age: {low: 0, high: 110}", "age: {low: 0}", 12, "modalities.chart.numeric.age.high: missing"),
        ("age: {low: 0,", "age: {low: 200,", 12, "modalities.chart.numeric.age: low must be below high"),
    ],
)
def test_a_mistake_has_its_line_and_the_nearest_key(old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(StudyError) as refused:
        parse_study(with_line(old, new))
    (first, *_) = [told for told in str(refused.value).splitlines() if said in told]
    assert first.endswith(f"(line {line})"), first
    parse_study(WHOLE)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        (
            "    kind: image",
            "    kind: imagee",
            6,
            "modalities.scan.kind: did you mean image? write one of image, record,",
        ),
        ("    kind: image", "    size: 32", 5, "modalities.scan.kind: missing; add this key"),
        ("{kind: binary,", "{kind: binarry,", 3, "task.kind: did you mean binary? write one of binary, multiclass"),
        ("training:", "fusion: {kind: attentoin}\ntraining:", 15, "fusion.kind: did you mean attention? write one of"),
        ("{mode: none}", "{mode: lokal}", 17, "privacy.mode: did you mean local? write one of none, local"),
        ("rounds: 3", "rounds: three", 14, "rounds: write a whole number"),
        ("rounds: 3", "rounds: [3]", 14, "rounds: write a whole number"),
        ("training:\n  local_steps: 4", "training: [local_steps, 4]", 15, "training: write keys with values here"),
        ("training:\n  local_steps: 4", "training: 4", 15, "training: write keys with values here"),
        ("training:\n  local_steps: 4", "training:", 15, "training: write keys with values here, or take the key away"),
        ("age: {low: 0, high: 110}", "age: 5", 12, "modalities.chart.numeric.age: write keys with values here"),
        ("[never, past]", "never", 13, "modalities.chart.categorical.smoker: write a list, as [a, b]"),
        ("[40, 400]", "[40, 400, 4]", 8, "modalities.scan.window: write 2 values here, not 3"),
        ("[40, 400]", "[40]", 8, "modalities.scan.window: a value is missing; add it"),
        ("[40, 400]", "[.inf, 1]", 8, "modalities.scan.window.0: write a finite number"),
        ("study: whole", "study: Whole", 2, "study: write a name of small letters, digits and _"),
        ("  scan:", "  Scan:", 5, "modalities.Scan: write a name of small letters, digits and _"),
    ],
)
def test_a_wrong_value_is_told_in_our_own_words_and_where_a_person_wrote_it(
    old: str, new: str, line: int, said: str
) -> None:
    _, told = study_in_part(with_line(old, new))
    assert len(told) == 1 and told[0].startswith(said) and told[0].endswith(f"(line {line})"), told


SITE = """\
schema: 1
site: north
target: {file: a.csv, column: c, columns: {one: {file: a.csv, column: b}}}
images: {scan: {folder: x, patient_tag: PatientID}}
records: {labs: {file: x, columns: {a: b}, values: {a: {b: c}}, missing: [a], duplicates: error}}
notes: {letter: {file: x, text: t}}
split: {file: a, column: b}
exclusions: a
identity: [{file: a, columns: [b]}]
policy: {largest_epsilon: 3.0, hours: "08:00-10:00", modalities: [a], without_privacy: {lost_site: wait}}
"""


@pytest.mark.parametrize("kind", [Study, SiteFile])
def test_whatever_is_wrong_anywhere_pydantic_s_own_words_are_told_nowhere(kind: type) -> None:
    """A wrong value in every place of a whole file, and of each kind of value: never a place that nobody wrote."""
    fuller = WHOLE + "fusion: {kind: mean}\nsplit: {column: a}\nsecure_sum: {bits: 16, threshold: 3}\n"
    panel = "  panel: {kind: sequence, genes: [A], mean: [0], sd: 1}\n  letter: {kind: note}\nrounds"
    text = study_text(parse_study(fuller.replace("rounds", panel))) if kind is Study else SITE
    value, count = yaml.safe_load(text), 0
    border._adapter(kind).validate_python(value)  # type: ignore[arg-type]
    theirs = re.compile(r"Input|Field required|nput tag|valid |should|ictionary|uple|Value error")
    for place in places(value):
        *above, last = place
        inner = value_at(value, tuple(above))
        right = inner[last]
        for odd in (None, -1, 0.5, 10**30, math.inf, "x", "", [], {"a": 1}, [1, 2, 3, 4], True):
            inner[last] = odd
            try:
                border._adapter(kind).validate_python(value)  # type: ignore[arg-type]
            except ValidationError as problem:
                entries = problem.errors(include_url=False)
                at = [place_of(value, entry) for entry in entries]
                told = [said(entry, where, kind, value, {}) for entry, where in told_once(entries, at)]
                assert told and not any(theirs.search(one) for one in told), (place, odd, told)
                kinds = re.compile(r"\.(image|record|note|sequence|binary|constrained|float|list)\b")
                assert not any(kinds.search(one.partition(": ")[0]) for one in told), told
                count += 1
        inner[last] = right
    assert count > 200


def test_a_list_or_a_number_is_told_once_and_where_it_is_wrong() -> None:
    """Either may stand there, and pydantic tells what is wrong with it as each of them."""
    panel = "  panel: {kind: sequence, genes: [A, B], mean: MEAN}\nrounds: 3"
    for mean, said_ in (("x", "mean: write a number"), ("[0, x]", "mean.1: write a number")):
        _, told = study_in_part(with_line("rounds: 3", panel.replace("MEAN", mean)))
        assert told == [f"modalities.panel.{said_} (line 14)"]


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
