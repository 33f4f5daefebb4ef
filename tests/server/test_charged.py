"""What a finished run may have cost beyond its sums, against ledgers that the study's plan does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.privacy.accounting import Release, epsilon
from common.privacy.plan import PrivacyPlan, plan_privacy
from common.study import Study
from server.run.charged import charged_at_most
from server.run.checkpoint import RunState
from tests.support.evidence import round_of
from tests.support.tiny import study_of

DELTA = 1e-5  # of the study


def private_study() -> tuple[Study, PrivacyPlan]:
    privacy = {
        "mode": "local",
        "epsilon": 8.0,
        "delta": DELTA,
        "sample_rate": 0.2,
        "expected_batch_size": 8,
        "spare_rounds": 4,
    }
    study = replace(study_of("chart", "panel", privacy=privacy, rounds=6), schema=1)
    plan = plan_privacy(study)
    assert plan is not None
    return study, plan


def stopped_after(study: Study, done: int, begun: int, spent: float, held_out: float, *, failed: int = 0) -> RunState:
    """A run whose last saved round is `done`, with so many attempts of the next one begun, and what was certified.

    failed: attempts of the rounds that were saved
    """
    entry = vars(round_of(done, epsilon=spent, held_out_epsilon=held_out))
    saved = 1 + failed
    return RunState(
        study.digest, "r", round=done, attempt=saved + begun - 1, saved_attempt=saved, history=[dict(entry)]
    )


@pytest.mark.parametrize("begun", [1, 3])
@pytest.mark.parametrize("done", [1, 2])
@pytest.mark.parametrize(
    ("delta", "other"), [(1e-6, False), (1e-7, False), (DELTA, True)], ids=["1e-6", "1e-7", "another study"]
)
def test_what_is_charged_at_most_is_not_below_a_ledger_that_the_plan_does_not_give(delta, other, done, begun) -> None:
    """It went on from the certified epsilon as if it were the plan's, whose next rounds cost less."""
    study, plan = private_study()
    beside: list[Release] = [plan.training(2)] if other else []

    def ledger(rounds: int) -> float:
        return epsilon([plan.statistics(), plan.training(rounds), *beside], delta, plan.accountant)

    held_out = epsilon([plan.statistics(), plan.evaluation_of("validation", done)], delta, plan.accountant)
    said = charged_at_most(study, stopped_after(study, done, begun, ledger(done), held_out))
    assert said is not None and min(ledger(done + begun), plan.epsilon) <= said * (1 + 1e-9) <= plan.epsilon * (
        1 + 1e-6
    )


def test_where_the_ledgers_are_as_the_plan_has_them_it_is_what_the_attempts_cost() -> None:
    study, plan = private_study()
    held_out = epsilon([plan.statistics(), plan.evaluation_of("validation", 1)], DELTA, plan.accountant)
    said = charged_at_most(study, stopped_after(study, 1, 1, plan.epsilon_after(1), held_out))
    assert said == pytest.approx(plan.epsilon_after(2)) and plan.epsilon_after(1) < said < plan.epsilon


def scores(plan: PrivacyPlan, part: str, times: int) -> float:
    return epsilon([plan.statistics(), plan.evaluation_of(part, times)], DELTA, plan.accountant)


@pytest.mark.parametrize("failed", [1, 2, 3])
@pytest.mark.parametrize("what", ["rounds", "statistics"])
def test_a_site_whose_answers_were_lost_has_no_ledger_above_what_is_charged_at_most(what: str, failed: int) -> None:
    """It was charged in attempts that failed before the last round was saved, and is charged and not heard since."""
    study, plan = private_study()
    said = charged_at_most(
        study, stopped_after(study, 2, 1, plan.epsilon_after(2), scores(plan, "validation", 2), failed=failed)
    )
    lost = [replace(plan.statistics(), steps=1 + failed * (what == "statistics"))]
    lost += [plan.training(3 + failed * (what == "rounds"))]
    assert said is not None and min(epsilon(lost, DELTA, plan.accountant), plan.epsilon) <= said * (1 + 1e-9)


@pytest.mark.parametrize(("done", "part", "times"), [(6, "validation", 8), (7, "test", 1)])
def test_scores_that_may_have_been_charged_count_by_the_part_that_they_are_of(done, part, times) -> None:
    """After the last round its model is scored, and then the test patients, on an account of their own."""
    study, plan = private_study()
    before = scores(plan, "validation", 7 if done == 6 else 8)
    training = plan.epsilon_after(6)
    state = stopped_after(study, done, 1, training, before)
    said = charged_at_most(study, state)
    assert said == pytest.approx(max(before, training, min(plan.epsilon, scores(plan, part, times))))
    assert charged_at_most(study, replace(state, round=8)) is None


def test_a_test_that_may_have_been_charged_is_no_further_score_of_validation_patients() -> None:
    """Here a further score would cost more than training has, and a test costs less."""
    study, _ = private_study()
    study = replace(study, training=replace(study.training, local_steps=2))
    plan = plan_privacy(study)
    assert plan is not None
    spent, held_out = plan.epsilon_after(6), scores(plan, "validation", 7)
    assert scores(plan, "test", 1) < max(spent, held_out) < scores(plan, "validation", 8)
    assert charged_at_most(study, stopped_after(study, 7, 1, spent, held_out)) == pytest.approx(max(spent, held_out))


@pytest.mark.parametrize(("failed", "begun"), [(0, 1), (1, 3), (2, 5)])
def test_test_patients_were_in_each_of_the_statistics_that_failed(failed: int, begun: int) -> None:
    study, plan = private_study()
    training, held_out = plan.epsilon_after(6), scores(plan, "validation", 8)
    said = charged_at_most(study, stopped_after(study, 7, begun, training, held_out, failed=failed))
    statistics = replace(plan.statistics(), steps=1 + failed)
    ledger = epsilon([statistics, plan.evaluation_of("test", begun)], DELTA, plan.accountant)
    assert said is not None and min(ledger, plan.epsilon) <= said * (1 + 1e-9)


@pytest.mark.parametrize("failed", [1, 2])
def test_validation_patients_of_a_site_that_was_lost_may_have_been_scored_in_each_attempt(failed: int) -> None:
    study, plan = private_study()
    plan_of = replace(study, training=replace(study.training, local_steps=1))  # training costs little
    plan = plan_privacy(plan_of)
    assert plan is not None
    state = stopped_after(plan_of, 2, 1, plan.epsilon_after(2), scores(plan, "validation", 2), failed=failed)
    said = charged_at_most(plan_of, state)
    ledger = epsilon([plan.statistics(), plan.evaluation_of("validation", 3 + failed)], DELTA, plan.accountant)
    assert said is not None and min(ledger, plan.epsilon) <= said * (1 + 1e-9)


def test_what_a_site_has_certified_is_charged_whatever_the_plan_gives() -> None:
    """By a sum that did not open, say, or in a ledger that holds another study."""
    study, plan = private_study()
    held_out = scores(plan, "validation", 1)
    state = stopped_after(study, 1, 1, plan.epsilon_after(1), held_out)
    for certified in ((plan.epsilon_after(5), held_out), (plan.epsilon_after(1), plan.epsilon_after(5))):
        assert charged_at_most(study, replace(state, certified=certified)) == pytest.approx(plan.epsilon_after(5))
    other = epsilon([plan.statistics(), plan.evaluation_of("validation", 1)], DELTA / 10, plan.accountant)
    assert charged_at_most(study, stopped_after(study, 1, 1, plan.epsilon_after(1), other)) == plan.epsilon
