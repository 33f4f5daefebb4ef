"""Small cells: what a deployed report must not show, neither directly nor by subtraction."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.report.evidence import Coverage, to_json
from server.report.page import write
from server.report.release import released
from tests.support.evidence import comparison, deployed, evidence, metrics, round_of

counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(-3, 40).map(float), max_size=6)


def sums(cases=None, present=None, classes=None) -> Coverage:
    ample = {"a": 400.0, "b": 300.0}
    (found,) = released(
        deployed(coverage=(Coverage(None, cases or ample, present or ample, classes or ample),))
    ).coverage
    return found


@pytest.mark.parametrize("count", [4.0, 4.99, 1.0, 0.0, -2.5, float("nan")])
def test_fewer_than_five_is_never_shown(count):
    shown = sums({"train": 90.0, "test": count}, {"scan": count}, {"no": 50.0, "rare": count, "yes": 44.0})
    assert shown.cases["test"] == shown.present["scan"] == shown.classes["rare"] == "<5"


def test_five_is_shown():
    shown = sums({"train": 90.0, "test": 5.0}, {"scan": 5.0}, {"no": 85.0, "yes": 5.0})
    assert (shown.cases["test"], shown.present["scan"], shown.classes["yes"]) == (5.0, 5.0, 5.0)


def test_the_only_withheld_class_cannot_be_had_by_subtraction():
    shown = sums(classes={"no": 90.0, "maybe": 30.0, "yes": 3.0})
    assert shown.classes == {"no": 90.0, "maybe": "withheld", "yes": "<5"}


@settings(max_examples=40, deadline=None)
@given(counts)
def test_no_partition_ever_misses_exactly_one_cell(parts):
    shown = sums(classes=parts or {"a": 9.0}).classes
    hidden = [name for name, count in shown.items() if isinstance(count, str)]
    assert len(hidden) != 1 or len(shown) == 1
    assert all(isinstance(shown[name], str) for name, count in parts.items() if count < 5)


@settings(max_examples=40, deadline=None)
@given(counts)
def test_releasing_twice_hides_no_more(parts):
    whole = deployed(coverage=(Coverage(None, parts, parts, parts),))
    assert released(released(whole)) == released(whole)


def test_measures_of_a_handful_of_patients_are_left_out_and_said():
    few = replace(comparison("Federated", "federated", 0.9), metrics=metrics(0.9, cases=3))
    shown = released(deployed(comparisons=(few,), rounds=(round_of(1, metrics=metrics(0.9, cases=4)),)))
    assert shown.comparisons == () and shown.rounds[0].metrics is None
    assert any("Federated" in warning and "fewer than 5" in warning for warning in shown.warnings)


def test_a_simulation_shows_all():
    small = evidence(coverage=(Coverage("ashford", {"train": 2.0}, {"scan": 1.0}, {"no": 1.0, "yes": 1.0}),))
    assert released(small) == small


def test_neither_file_holds_what_the_other_hides(tmp_path):
    small = deployed(coverage=(Coverage(None, {"train": 8317.0}, {"scan": 3.0}, {"no": 8313.0, "yes": 4.0}),))
    page = write(small, tmp_path).read_text(encoding="utf-8")
    data = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert "8313" in to_json(small)
    assert "8313" not in data and "8\u202f313" not in page  # by subtraction it would give away the 4
    assert '"yes": "<5"' in data and '"scan": "<5"' in data
    assert page.count("&lt;5") == 2 and page.count("withheld") == 1


def test_what_is_withheld_stands_nowhere_else_in_the_report():
    """Validation was withheld beside three test patients, and stood in each round's score; a modality that everybody
    has told the total.
    """
    cases = {"train": 90.0, "validation": 30.0, "test": 3.0}
    small = Coverage(None, cases, {"scan": 123.0, "chart": 60.0, "rare": 2.0}, {"no": 50.0, "yes": 40.0})
    shown = released(deployed(coverage=(small,), rounds=(round_of(1, metrics=metrics(0.8, cases=30.0)),)))
    assert shown.coverage[0].cases == {"train": 90.0, "validation": "withheld", "test": "<5"}
    assert shown.coverage[0].present == {"scan": "withheld", "chart": "withheld", "rare": "<5"}
    assert "cases" not in shown.rounds[0].metrics and shown.rounds[0].metrics["auc"] == 0.8
    ample = replace(small, cases={"train": 90.0, "validation": 30.0, "test": 5.0}, present={"scan": 125.0})
    shown = released(deployed(coverage=(ample,), rounds=(round_of(1, metrics=metrics(0.8, cases=30.0)),)))
    assert shown.coverage[0] == ample and shown.rounds[0].metrics["cases"] == 30.0


@pytest.mark.parametrize(("lack", "shown"), [(0, 125.0), (1, "withheld"), (4, "withheld"), (5, 120.0)])
def test_who_lacks_a_modality_is_a_cell_too(lack, shown):
    cases = {"train": 90.0, "validation": 30.0, "test": 5.0}
    assert sums(cases, {"scan": 125.0 - lack}).present == {"scan": shown}


def test_noise_hides_how_many_there_are_and_then_nothing_is_withheld():
    noisy = Coverage(None, {"train": 90.0, "test": 3.0}, {"scan": 92.0}, {"no": 50.0, "yes": 40.0}, 20.0)
    assert released(deployed(coverage=(noisy,))).coverage == (noisy,)


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [((90, 4, 4), 3), ((5, 5, 2), 3), ((90, 30, 3), 2), ((90, 2, 2, 1), 3), ((90, 4, 4, 1), 4), ((90, 30, 5), 0)],
)
def test_what_the_rest_of_a_total_leaves_open_for_a_small_count_is_none_to_four(counts, hidden):
    """Two of four each were eight together, and so four each."""
    shown = sums(classes={str(place): float(count) for place, count in enumerate(counts)}).classes
    assert sum(isinstance(count, str) for count in shown.values()) == hidden


def test_a_part_that_the_study_has_not_hides_nothing():
    """Of a study without validation every modality was withheld."""
    cases = {"train": 90.0, "validation": 0.0, "test": 30.0}
    entire = deployed(coverage=(Coverage(None, cases, {"scan": 120.0}, {"no": 50.0, "yes": 40.0}),))
    without = replace(entire, study=entire.study | {"split": {"validation": 0.0, "test": 0.2, "validation_values": []}})
    (shown,) = released(without).coverage
    assert (dict(shown.cases), dict(shown.present)) == (cases, {"scan": 120.0})
    assert released(entire).coverage[0].cases["validation"] == "<5"
