"""Small cells: what a deployed report must not show, neither directly nor by subtraction."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.scores import metrics as metrics_of
from common.scores import score_sums
from common.tasks.measure import NORMAL_95
from server.report.coverage import coverage_table
from server.report.evidence import Coverage, Evidence, from_json, to_json
from server.report.page import render, write
from server.report.release import released, round_released
from server.run.round_line import line
from tests.support.evidence import comparison, deployed, evidence, metrics, round_of
from tests.support.reading import read_page
from tests.support.tiny import study_of

counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(-3, 40).map(float), max_size=6)


def exact(**values) -> Evidence:
    """A deployed run without privacy."""
    whole = deployed(**values)
    return replace(whole, study=whole.study | {"privacy": {"mode": "none"}})


def sums(cases=None, present=None, classes=None) -> Coverage:
    ample = {"a": 400.0, "b": 300.0}
    (found,) = released(exact(coverage=(Coverage(None, cases or ample, present or ample, classes or ample),))).coverage
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
    many = sums({"train": float(count), "test": 50.0}, {"scan": float(count)}, {"no": float(count)})
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
    """It is the total, by which a class, or a modality, of four could be had, and who lacks one. Nobody who lacks it is
    not told from a few.
    """
    train, test = parts
    total = train + test
    cases = {"train": float(train), "validation": 0.0, "test": float(test)}
    present = {"scan": float(total - lack), "other": float(other)}
    classes = {"no": float(max(0, train - rare)), "yes": float(rare)}
    evidence_of = exact(coverage=(Coverage(None, cases, present, classes),))
    (shown,) = released(replace(evidence_of, study=evidence_of.study | {"split": WITHOUT_VALIDATION})).coverage
    few = rare < 5 or other < 5 or train - rare < 5
    if rare < 5:
        assert shown.cases["train"] == "withheld" and shown.classes["yes"] == "<5"
    if few:
        assert set(shown.present.values()) <= {"withheld", "<5"}
    else:
        assert shown.present["scan"] == ("all but <5" if lack < 5 else 5 * round((total - lack) / 5))


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


@settings(max_examples=10, deadline=None)
@given(counts, counts)
@example({"train": 12.0, "validation": 12.0, "test": 12.0}, {"scan": 31.0})
def test_releasing_twice_hides_no_more(parts, present):
    """Of 36 patients, shown as 30, five lack a scan, and 31 are shown as 30: rounded, nobody would."""
    whole = exact(coverage=(Coverage(None, parts, present, parts),))
    once = released(whole)
    assert released(once) == once == from_json(to_json(once)) and render(once) == render(whole)
    assert '"released"' not in to_json(whole) and from_json(to_json(whole)) == whole


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
    assert page.count("&lt;5") == 2 and page.count(">withheld") == 1 and "Counts are given to the nearest 5" in page


def test_noise_hides_how_many_there_are_and_then_nothing_is_withheld():
    noisy = Coverage(None, {"train": 90.0, "test": 3.0}, {"scan": 92.0}, {"no": 50.0, "yes": 40.0}, 20.0)
    assert released(deployed(coverage=(noisy,))).coverage == (noisy,)


def test_a_part_that_the_study_has_not_hides_nothing():
    """Of a study without validation every modality was withheld."""
    cases = {"train": 90.0, "validation": 0.0, "test": 30.0}
    entire = exact(coverage=(Coverage(None, cases, {"scan": 120.0}, {"no": 50.0, "yes": 40.0}),))
    by_column = {"column": "year", "validation": 0.1, "test": 0.2, "validation_values": [], "test_values": ["b"]}
    for split in (WITHOUT_VALIDATION, by_column):
        (shown,) = released(replace(entire, study=entire.study | {"split": split})).coverage
        assert (dict(shown.cases), dict(shown.present)) == (cases, {"scan": "all but <5"})
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
    entire = exact(coverage=(Coverage(None, cases, {"scan": 120.0, "note": 60.0}, {"no": 50.0, "yes": 40.0}),))
    (shown,) = released(entire).coverage
    assert (shown.cases, shown.present) == (cases, {"scan": "all but <5", "note": 60.0})
    page = read_page(render(entire)).text
    assert "not counted" in page and "50" in page
    table = coverage_table([shown], released=True)
    assert [share.percent for share in table.rows[0].present] == ["", "50\u202f%"]


@pytest.mark.parametrize("sd", [0.3, 0.5, 1.2])
@pytest.mark.parametrize("measured", [12.4, 17.4, 42.6, 427.4])
def test_the_interval_of_little_noise_has_what_was_measured_before_it_was_rounded(sd: float, measured: float) -> None:
    """12.4, with noise of .5, was "9 to 11"."""
    cases = {"train": measured, "test": 60.0}
    noisy = Coverage(None, cases, {"scan": measured}, {"no": measured, "yes": 60.0}, sd)
    whole = deployed(coverage=(noisy,))
    (row,) = coverage_table(released(whole).coverage, released=True).rows
    for written in (row.cases[0], row.present[0].count, row.classes[0].count):
        ends = [float(end) for end in written.split(" to ")]
        half = NORMAL_95 * sd if len(ends) == 2 else 2.5
        assert (ends[0] <= measured - half + 1 and measured + half - 1 <= ends[-1]) or len(ends) == 1
        assert len(ends) == 2 or abs(ends[0] - measured) <= 2.5
    page = read_page(render(whole)).text
    assert "to the nearest 5, which the intervals take into account" in page


@pytest.mark.parametrize("few", ["yes", ""])
def test_the_page_says_why_a_count_is_withheld(few: str) -> None:
    cases = {"train": 146.0, "validation": 40.0, "test": 40.0}
    classes = {"no": 100.0, "yes": 4.0 if few else 46.0}
    page = read_page(render(deployed(coverage=(Coverage(None, cases, {"scan": 150.0}, classes),)))).text
    assert ("what they could be computed from is withheld" in page) == ("withheld" in page) == bool(few)
    assert "shares are computed from these" in page


def test_the_page_says_that_a_score_is_of_a_few_and_not_that_noise_hides_it() -> None:
    """Of a run without privacy it blamed the noise of privacy."""
    few = replace(comparison("Federated", "federated", 0.9), metrics=metrics(0.9, cases=40) | {"rarest": 4.0}, sites=4)
    rounds = (round_of(1), replace(round_of(2), metrics=metrics(0.9, cases=3)))
    rounds = (replace(rounds[0], metrics=None), rounds[1])
    page = read_page(render(deployed(comparisons=(few,), rounds=rounds))).text
    assert page.count("No score is shown: it would be of fewer than 5 patients") == 2
    assert "No bar is drawn" not in page and "noise of privacy is wider than .1" not in page


def test_the_terminal_shows_no_score_of_a_few() -> None:
    for cases, is_shown in ((3, False), (40, True)):
        said = line(round_released(round_of(3, epsilon=None, metrics=metrics(0.8123, cases=cases))), 20)
        assert ("0.812" in said) == is_shown == ("score not shown: of too few patients" not in said)


@pytest.mark.parametrize("sd", [0.0, 1.2])
def test_of_a_modality_that_a_noisy_sum_counts_the_count_is_shown(sd: float) -> None:
    """Whether a few lack it, or more, the noise may have made; a private report of 0.1 did not keep how much it was."""
    noisy = Coverage(None, {"train": 90.0, "test": 30.0}, {"scan": 118.0}, {"no": 50.0, "yes": 40.0}, sd)
    assert released(deployed(coverage=(noisy,))).coverage[0].present == {"scan": 120.0}
    assert released(exact(coverage=(replace(noisy, noise=0.0),))).coverage[0].present == {"scan": "all but <5"}
