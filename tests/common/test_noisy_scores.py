"""A private test score: near the true one, with an interval that holds, paid for by an account of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from client.ledger.accounts import releases
from common.privacy.accounting import epsilon
from common.privacy.accounts import accounts
from common.privacy.plan import evaluations, plan_privacy
from common.scores import metrics, score_segments, score_sensitivity, score_sums
from common.study import Study, parse_study, study_text
from tests.support.scripted import NAMES
from tests.support.tiny import study_of

SITES, PATIENTS, TIMES = 3, 171, 300
STUDY = """
study: noisy
task: {kind: binary, classes: [benign, malignant]}
modalities: {chart: {kind: record, numeric: {age: {low: 0, high: 110}}}}
rounds: 30
"""
PRIVATE = "privacy: {mode: local, epsilon: 3}\n"


def study(schema: int, tail: str = PRIVATE) -> Study:
    return parse_study(f"schema: {schema}\n{STUDY}{tail}")


def scored(of: Study) -> dict[str, np.ndarray]:
    """The exact sums over test patients whom a model tells apart with an AUC near .97."""
    random = np.random.default_rng(0)
    ill = random.random(PATIENTS) < 0.4
    logits = torch.tensor(1.5 * (random.normal(size=PATIENTS) + 2.6 * ill) - 2)
    return score_sums(of, logits[:, None], torch.tensor(ill.astype(int)))


def noisy(of: Study) -> tuple[float, np.ndarray, np.ndarray]:
    """The true AUC, and AUC and half width of many noisy sums over all sites."""
    plan, sums, random = plan_privacy(of), scored(of), np.random.default_rng(1)
    assert plan is not None
    sd = plan.evaluation_of("test").noise_multiplier * score_sensitivity(of) * math.sqrt(SITES)
    seen = [
        metrics(of, {name: value + random.normal(scale=sd, size=value.shape) for name, value in sums.items()}, sd)
        for _ in range(TIMES)
    ]
    return (
        metrics(of, sums)["auc"],
        np.array([one["auc"] for one in seen]),
        np.array([one["auc_noise"] for one in seen]),
    )


def test_a_private_test_score_is_near_the_true_one_and_its_interval_holds() -> None:
    true, auc, half = noisy(study(1))
    assert true > 0.95
    known = np.isfinite(half)  # in the others the noise may be all that there is, and the report says so
    assert known.mean() > 0.5
    assert abs(auc[known].mean() - true) < 0.06 and auc[known].std() < 0.12
    assert (np.abs(auc - true) <= half)[known].mean() > 0.9
    assert (half[known] > 0.05).all()  # so none of them is drawn as a score


def test_under_schema_0_the_score_was_noise() -> None:
    """What 0.1 printed, and prints still for its studies: now with a width that says so."""
    true, auc, half = noisy(study(0))
    assert true > 0.95 and abs(auc.mean() - 0.5) < 0.1
    assert (half > 0.2).all()


def test_schema_1_has_ten_bins_where_there_is_noise_and_nobody_chose() -> None:
    assert study(1).evaluation.bins == 10
    assert study(0).evaluation.bins == study(1, "privacy: {mode: none}\n").evaluation.bins == 100
    assert study(1, PRIVATE + "evaluation: {bins: 40}\n").evaluation.bins == 40
    assert study(1, PRIVATE + "evaluation: {every: 2}\n").evaluation.bins == 10
    assert parse_study(study_text(study(1))) == study(1)


def test_without_noise_nothing_of_a_score_changed() -> None:
    exact = scored(study(0))
    plain = study(1, "privacy: {mode: none}\nevaluation: {bins: 100}\n")
    assert metrics(plain, exact) == metrics(study(0), exact)
    assert metrics(plain, exact)["auc_noise"] == metrics(plain, exact)["share_noise"] == 0


@pytest.mark.parametrize("every", [1, 7])
def test_test_patients_have_an_account_of_their_own(every: int) -> None:
    """It holds the statistics and one score in each attempt, and with less noise it would pass epsilon."""
    of = study(1, PRIVATE + f"evaluation: {{every: {every}}}\n")
    plan, before = plan_privacy(of), plan_privacy(study(0, PRIVATE + f"evaluation: {{every: {every}}}\n"))
    assert plan is not None and before is not None and plan.test_noise_multiplier is not None
    assert plan.test_noise_multiplier < before.evaluation_noise_multiplier
    assert accounts(of) == ("training", "validation", "test")
    for part, times in (("test", 1 + of.privacy.spare_rounds), ("validation", evaluations(of))):
        whole = [plan.statistics(), plan.evaluation_of(part, times)]
        assert epsilon(whole, plan.delta, plan.accountant) <= plan.epsilon
        one = plan.evaluation_of(part)
        less = [plan.statistics(), *[type(one)("evaluation", one.noise_multiplier * 0.99, 1.0, times)]]
        assert epsilon(less, plan.delta, plan.accountant) > plan.epsilon


def test_what_is_charged_for_a_part_is_the_noise_of_its_layout() -> None:
    """The bound of the sum's segments follows from the noise: both are of the same part."""
    from common.plan import RoundPlan
    from common.questions import layout_of

    of = study(1)
    plan = plan_privacy(of)
    assert plan is not None
    bounds = {}
    for part in ("validation", "test"):
        asked = RoundPlan(of.digest, "0" * 16, 1, 1, (part,), NAMES, {}, np.zeros(1, dtype=np.float32))
        ((account, (release,)),) = releases(asked, of, plan).items()
        assert account == part and release == plan.evaluation_of(part)
        exact = score_segments(of)[0].bound
        bounds[part] = layout_of(asked, of, None, plan).segments[0].bound - exact  # type: ignore[arg-type]
        assert bounds[part] == pytest.approx(10 * release.noise_multiplier * score_sensitivity(of))
    assert bounds["test"] < bounds["validation"] / 2
    assert study_of("chart").schema == 0  # the studies of other tests
