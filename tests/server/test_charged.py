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


def stopped_after(study: Study, done: int, begun: int, spent: float, held_out: float) -> RunState:
    """A run whose last saved round is `done`, with so many attempts of the next one begun, and what was certified."""
    entry = vars(round_of(done, epsilon=spent, held_out_epsilon=held_out))
    return RunState(study.digest, "r", round=done, attempt=done + begun, saved_attempt=done + 1, history=[dict(entry)])


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
    assert said is not None and plan.epsilon_after(1) < said < plan.epsilon
    assert said >= plan.epsilon_after(2) * (1 - 1e-9)
