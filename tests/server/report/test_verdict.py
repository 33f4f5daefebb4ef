"""Was it worth it? The truth table, and that no missing number turns into a claim."""

import math
from dataclasses import replace

import pytest

from common.tasks import MEASURES
from common.tasks.measure import Measure
from server.report.comparison import comparison_table
from server.report.evidence import Comparison
from server.report.verdict import leading, verdict
from tests.support.evidence import comparison, deployed, evidence

NAN = math.nan
PLAIN = {**evidence().study, "privacy": {"mode": "none"}}


def judged(federated=None, alone=(), pooled=None, half=None, **changes):
    found = [] if federated is None else [comparison("Federated", "federated", federated, half)]
    found += [comparison(f"site{place}", "alone", value, half) for place, value in enumerate(alone)]
    found += [] if pooled is None else [comparison("Pooled", "pooled", pooled, half)]
    return verdict(evidence(comparisons=tuple(found), **changes))


@pytest.mark.parametrize(
    ("federated", "alone", "pooled", "half", "answer"),
    [
        (0.86, [0.79, 0.70], 0.89, None, "unclear"),  # without an interval never yes or no
        (0.86, [0.79, 0.70], None, None, "unclear"),
        (0.86, [0.79, 0.70], 0.89, 0.02, "yes"),
        (0.86, [0.85, 0.70], 0.89, 0.02, "unclear"),
        (0.86, [0.87, 0.70], 0.89, 0.02, "unclear"),
        (0.86, [0.84, 0.70], 0.89, 0.02, "unclear"),  # on the edge of the interval
        (0.80, [0.85, 0.70], 0.89, 0.02, "no"),
        (0.80, [0.80, 0.70], 0.89, None, "unclear"),
        (0.80, [0.85], 0.89, None, "unclear"),
        (0.50, [0.40], 0.89, 0.02, "no"),  # better than the sites, and still no better than chance
        (0.45, [], None, 0.02, "no"),
        (0.45, [], None, None, "unclear"),
        (1.00, [0.90], 0.89, 0.0, "unclear"),  # an interval of no width: a perfect score on few patients
        (0.86, [], 0.89, None, "open"),
        (0.86, [], None, None, "open"),
        (0.86, [NAN], 0.89, None, "open"),
        (None, [0.79], 0.89, None, "open"),
        (NAN, [0.79], 0.89, None, "open"),
        (None, [], None, None, "open"),
        (0.86, [NAN, 0.70], NAN, 0.02, "yes"),
    ],
)
def test_the_answer(federated, alone, pooled, half, answer):
    found = judged(federated, alone, pooled, half, study=PLAIN)
    assert found.answer == answer
    assert "nan" not in " ".join([found.sentence, *found.details])


def test_the_sentence_holds_the_numbers_it_rests_on():
    found = judged(0.8612, [0.70, 0.7884], 0.8921, 0.02)
    assert found.word == "Yes."
    for part in ("0.861", "0.788", "site1", "0.892", "AUC"):
        assert part in found.sentence
    assert "0.700" not in found.sentence


def test_a_difference_within_chance_is_said_to_be_so():
    found = judged(0.86, [0.85], 0.89, 0.02)
    assert "0.840 to 0.880" in found.details[0] and "chance" in found.details[0]


def test_models_without_noise_are_no_reason_for_a_no_and_are_named_as_what_they_are():
    """The demo: the sites alone reach less than the federation at the same epsilon, and more without noise."""
    found = judged(0.80, [0.85, 0.70], 0.89, 0.02)
    assert found.answer == "unclear"
    assert judged(0.80, [0.85, 0.70], 0.89, 0.02, study=PLAIN).answer == "no"
    assert "no noise" in " ".join(found.details) and "under the same privacy" in " ".join(found.details)
    assert "no noise" not in " ".join(judged(0.80, [0.85, 0.70], 0.89, 0.02, study=PLAIN).details)
    assert judged(0.86, [0.79], 0.89, 0.02).answer == "yes"  # better even than models that had no noise


def test_the_best_of_several_by_its_test_score_is_said_to_be_that():
    assert "best of 3 by its test score" in " ".join(judged(0.86, [0.79, 0.78, 0.70], None, 0.02).details)
    assert "by its test score" not in " ".join(judged(0.86, [0.79], None, 0.02).details)


@pytest.mark.parametrize(("half", "shown"), [(0.04, "0.861"), (0.08, "0.78 to 0.94"), (math.inf, "may be anything")])
def test_a_score_that_noise_hides_is_written_as_what_is_known_of_it(half, shown):
    entry = comparison("Federated", "federated", 0.861, half)
    noisy = replace(entry, metrics={**entry.metrics, "auc_noise": half})
    found = verdict(deployed(comparisons=(noisy,)))
    assert shown in found.sentence and found.answer == "open"
    assert ("0.861" in found.sentence) == (half == 0.04)


def test_pooled_privacy_and_fusion_are_told_beside_it():
    details = " ".join(verdict(evidence()).details)
    assert "96.5\u202f% of the AUC" in details
    assert "privacy cost 0.023 AUC" in details
    assert "0.117 AUC more than the best single modality, scan" in details


def test_privacy_that_cost_nothing_is_no_negative_cost():
    pair = (comparison("Federated", "federated", 0.88), comparison("Plain", "federated_non_private", 0.87))
    assert "privacy cost no AUC" in " ".join(verdict(evidence(comparisons=pair)).details)


def test_fusion_that_did_not_help_is_said():
    pair = (comparison("Federated", "federated", 0.71), comparison("scan", "single_modality", 0.74))
    assert "0.030 AUC less than the best single modality" in " ".join(verdict(evidence(comparisons=pair)).details)


def test_deployed_makes_no_claim_about_sites():
    found = verdict(deployed())
    assert found.answer == "open" and "0.861" in found.sentence and "sums only" in found.sentence


def test_accuracy_leads_where_there_is_no_auc():
    def without_auc(entry: Comparison) -> Comparison:
        return replace(entry, metrics={**entry.metrics, "auc": NAN}, interval=None)

    whole = evidence(comparisons=tuple(map(without_auc, evidence().comparisons)))
    assert leading(whole) == "accuracy"
    found = verdict(whole)
    assert found.answer == "unclear" and "Accuracy 0.812" in found.sentence  # without an interval never yes


def test_accuracy_has_no_chance_of_one_half():
    """With ten classes, .3 may be a fine model: only the AUC has a chance level that is always one half."""
    scores = {"auc": NAN, "accuracy": 0.3}
    pair = (
        Comparison("Federated", "federated", scores, (0.25, 0.35), ""),
        Comparison("site", "alone", {**scores, "accuracy": 0.2}, None, ""),
    )
    assert verdict(evidence(comparisons=pair)).answer == "yes"


def test_no_evidence_at_all_is_still_a_verdict():
    found = verdict(evidence(comparisons=(), rounds=()))
    assert found.answer == "open" and "not measured" in found.sentence
    assert leading(evidence(comparisons=(), rounds=())) == "auc"


def test_metrics_without_the_leading_key_are_passed_over():
    odd = Comparison("odd", "alone", {"cases": 3.0}, None, "")
    assert verdict(evidence(comparisons=(comparison("F", "federated", 0.8), odd))).answer == "open"


OFF = Measure("off", "Grades off", more_is_better=False, leads=True)


def off(entry: Comparison) -> Comparison:
    """The same model by an error in place of an AUC: what was better is less."""
    ends = entry.interval and (1 - entry.interval[1], 1 - entry.interval[0])
    return replace(entry, metrics={"off": 1 - entry.metrics["auc"], "cases": 400.0}, interval=ends)


@pytest.mark.parametrize(("federated", "alone"), [(0.95, (0.7, 0.8)), (0.6, (0.9, 0.97)), (0.8, (0.79, 0.805))])
def test_where_less_is_better_the_answer_is_the_same_and_the_best_site_is_the_least(monkeypatch, federated, alone):
    """An error of .05 beside .2 and .3 alone was a "No.", and the worst site the best one."""
    found = [comparison("Federated", "federated", federated, 0.02), comparison("Pooled", "pooled", 0.96, 0.02)]
    found += [comparison(f"site{place}", "alone", value, 0.02) for place, value in enumerate(alone)]
    more = verdict(evidence(comparisons=tuple(found), study=PLAIN))
    monkeypatch.setitem(MEASURES, "off", OFF)
    monkeypatch.setattr("server.report.verdict.measures_of", lambda kind: (OFF,))
    less = verdict(evidence(comparisons=tuple(map(off, found)), study=PLAIN))
    assert (less.answer, less.word) == (more.answer, more.word)
    assert f"the best site alone, site{alone.index(max(alone))}, reaches {1 - max(alone):.3f}" in less.sentence
    assert not any("of training on pooled data" in line for line in less.details)
    assert any("rather too low" in line for line in less.details)
    table = comparison_table([off(one) for one in found], "off")
    assert next(row.label for row in table.rows if row.kind == "alone") == f"site{alone.index(max(alone))}"
