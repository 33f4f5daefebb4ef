"""Small cells: what a deployed report must not show, neither directly nor by subtraction."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.scores import metrics as metrics_of
from common.scores import score_sums
from server.report.evidence import Coverage, to_json
from server.report.page import render, write
from server.report.release import released
from tests.support.evidence import comparison, deployed, evidence, metrics, round_of
from tests.support.reading import read_page
from tests.support.tiny import study_of

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


@pytest.mark.parametrize(("count", "shown"), [(5, 5), (7, 5), (8, 10), (92, 90), (93, 95), (8313, 8315)])
def test_counts_are_given_to_the_nearest_five(count, shown):
    many = sums({"train": float(count)}, {"scan": float(count)}, {"no": float(count)})
    assert (many.cases["train"], many.present["scan"], many.classes["no"]) == (shown, shown, shown)
    entry = replace(comparison("Federated", "federated", 0.9), metrics=metrics(0.9, cases=count))
    found = released(deployed(comparisons=(entry,), rounds=(round_of(1, metrics=metrics(0.9, cases=count)),)))
    assert found.comparisons[0].metrics["cases"] == found.rounds[0].metrics["cases"] == shown
    assert found.comparisons[0].metrics["auc"] == 0.9


def can_be(shown) -> range:
    """What a count may be that is shown as this."""
    if isinstance(shown, str):
        return range(5) if shown == "<5" else range(100)
    return range(max(5, int(shown) - 2), int(shown) + 3)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.sampled_from([13, 32, 33, 43, 47])] * 2),
    st.sampled_from([2, 4, 40]),
    st.sampled_from([0, 1, 4, 9]),
    st.sampled_from([0, 3, 4, 30]),
)
@example((42, 32), 4, 0, 30)
@example((43, 13), 40, 0, 4)
@example((47, 17), 40, 1, 30)
def test_a_modality_that_nearly_all_have_tells_no_small_count(parts, rare, lack, other) -> None:
    """It is the total, by which a class, or a modality, of four could be had, and who lacks one."""
    train, test = parts
    total = train + test
    cases = {"train": float(train), "validation": 0.0, "test": float(test)}
    present = {"scan": float(total - lack), "other": float(other)}
    classes = {"no": float(max(0, train - rare)), "yes": float(rare)}
    evidence_of = deployed(coverage=(Coverage(None, cases, present, classes),))
    (shown,) = released(replace(evidence_of, study=evidence_of.study | {"split": WITHOUT_VALIDATION})).coverage
    if rare < 5 or lack in (1, 4) or other < 5:
        assert all(isinstance(count, str) for count in shown.present.values())
    if rare < 5:
        assert shown.cases["train"] == "withheld" and shown.classes["yes"] == "<5"
    if lack in (0, 9) and rare >= 5 and other >= 5 and not 0 < total - other < 5 and train - rare >= 5:
        assert shown.present["scan"] == 5 * round((total - lack) / 5)


WITHOUT_VALIDATION = {"column": None, "validation": 0.0, "test": 0.2, "validation_values": []}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 4, 5, 7, 8, 12, 13]), min_size=2, max_size=4))
@example([4, 4])
@example([0, 8, 8, 8, 8])
def test_a_class_of_a_few_may_be_any_number_below_five(counts):
    """Two of four each were eight together, and so four each; none beside four classes of eight, which are 32."""
    found = sums(
        {"train": float(sum(counts))}, classes={str(place): float(count) for place, count in enumerate(counts)}
    )
    classes, train = list(found.classes.values()), set(can_be(found.cases["train"]))
    for place, shown in enumerate(classes):
        if shown == "<5":
            others = product(*(can_be(one) for other, one in enumerate(classes) if other != place))
            rests = {sum(some) for some in others}
            assert {count for count in range(5) if any(rest + count in train for rest in rests)} == {*range(5)}


def test_a_part_of_a_few_is_not_told_by_a_modality_that_everybody_has():
    """28 have a scan, of which twelve are in training and twelve in validation."""
    found = sums({"train": 12.0, "validation": 12.0, "test": 4.0}, {"scan": 28.0, "rna": "not trained"}, {"no": 12.0})
    assert found.cases == {"train": 10.0, "validation": 10.0, "test": "<5"}
    assert found.present == {"scan": "withheld", "rna": "not trained"}


@settings(max_examples=40, deadline=None)
@given(counts)
def test_releasing_twice_hides_no_more(parts):
    whole = deployed(coverage=(Coverage(None, parts, parts, parts),))
    assert released(released(whole)) == released(whole)


def test_measures_of_a_handful_of_patients_are_left_out_and_said():
    few = replace(comparison("Federated", "federated", 0.9), metrics=metrics(0.9, cases=3))
    shown = released(deployed(comparisons=(few,), rounds=(round_of(1, metrics=metrics(0.9, cases=4)),)))
    assert shown.comparisons[0].metrics == shown.rounds[0].metrics == {}
    page = read_page(render(shown)).text
    assert "The test score is not shown: it is of fewer than 5 patients" in page and "not measured" not in page
    assert "No score is shown: it would be of fewer than 5 patients" in page and "No round was evaluated" not in page
    assert any("Federated" in warning and "fewer than 5" in warning for warning in shown.warnings)


@pytest.mark.parametrize(("malignant", "is_shown"), [(1, False), (4, False), (5, True), (36, False), (40, True)])
def test_scores_of_a_class_of_a_handful_are_left_out_too(malignant, is_shown):
    """Eight rounds' AUC over 40 patients fit no other number of malignant ones than three. 40 of 40: no AUC is told."""
    study = study_of("chart")
    logits, target = torch.linspace(-2, 2, 40)[:, None], (torch.arange(40) < malignant).long()
    found = metrics_of(study, score_sums(study, logits, target))
    few = replace(comparison("Federated", "federated", 0.9), metrics=found)
    shown = released(deployed(comparisons=(few,), rounds=(round_of(1, metrics=found),)))
    assert bool(shown.comparisons[0].metrics) == is_shown == bool(shown.rounds[0].metrics)
    assert is_shown or shown.comparisons[0].interval is None
    assert "rarest" not in to_json(shown)


def test_a_simulation_shows_all():
    small = evidence(coverage=(Coverage("ashford", {"train": 2.0}, {"scan": 1.0}, {"no": 1.0, "yes": 1.0}),))
    assert released(small) == small


def test_neither_file_holds_what_the_other_hides(tmp_path):
    small = deployed(coverage=(Coverage(None, {"train": 8317.0}, {"scan": 3.0}, {"no": 8313.0, "yes": 4.0}),))
    page = write(small, tmp_path).read_text(encoding="utf-8")
    data = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert "8313" in to_json(small) and "8317" in to_json(small)
    assert "8313" not in data and "8\u202f313" not in page and "8315" in data and "8\u202f315" in page
    assert "831" not in (page + data).replace("8315", "").replace("8\u202f315", "")
    assert '"yes": "<5"' in data and '"scan": "<5"' in data and '"train": "withheld"' in data
    assert page.count("&lt;5") == 2 and page.count("withheld") == 1 and "Counts are given to the nearest 5" in page


def test_noise_hides_how_many_there_are_and_then_nothing_is_withheld():
    noisy = Coverage(None, {"train": 90.0, "test": 3.0}, {"scan": 92.0}, {"no": 50.0, "yes": 40.0}, 20.0)
    assert released(deployed(coverage=(noisy,))).coverage == (noisy,)


def test_a_part_that_the_study_has_not_hides_nothing():
    """Of a study without validation every modality was withheld."""
    cases = {"train": 90.0, "validation": 0.0, "test": 30.0}
    entire = deployed(coverage=(Coverage(None, cases, {"scan": 120.0}, {"no": 50.0, "yes": 40.0}),))
    by_column = {"column": "year", "validation": 0.1, "test": 0.2, "validation_values": [], "test_values": ["b"]}
    for split in (WITHOUT_VALIDATION, by_column):
        (shown,) = released(replace(entire, study=entire.study | {"split": split})).coverage
        assert (dict(shown.cases), dict(shown.present)) == (cases, {"scan": 120.0})
    assert released(entire).coverage[0].cases["validation"] == "<5"


@pytest.mark.parametrize(("half", "is_shown"), [(0.0, False), (2.4, False), (2.6, True)])
def test_scores_of_a_handful_are_shown_where_noise_hides_how_many_they_are(half: float, is_shown: bool) -> None:
    """From an interval of five patients on; and their number is then written as it is, with this noise."""
    noisy = metrics(0.9, cases=4) | {"share_noise": half * 2**0.5 / 4, "auc_noise": 0.01}
    entry = replace(comparison("Federated", "federated", 0.9), metrics=noisy)
    shown = released(deployed(comparisons=(entry,), rounds=(round_of(1, metrics=noisy),)))
    assert bool(shown.comparisons[0].metrics) == is_shown == bool(shown.rounds[0].metrics)
    if is_shown:
        assert shown.comparisons[0].metrics["cases"] == shown.rounds[0].metrics["cases"] == 4


def test_a_part_that_was_not_counted_is_said_and_hides_nothing():
    """It was "<5", and every modality was withheld beside it."""
    cases = {"train": 90.0, "validation": 30.0, "test": "not counted"}
    entire = deployed(coverage=(Coverage(None, cases, {"scan": 120.0, "note": 60.0}, {"no": 50.0, "yes": 40.0}),))
    (shown,) = released(entire).coverage
    assert (shown.cases, shown.present) == (cases, {"scan": 120.0, "note": 60.0})
    page = read_page(render(entire)).text
    assert "not counted" in page and "50" in page
