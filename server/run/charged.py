"""What sites may have charged for attempts whose sums are not in the report: of the round that was begun and not saved,
and those that failed before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from common.plan import UPDATE, scored_by
from common.privacy.accounting import Release, epsilon
from common.privacy.plan import PrivacyPlan, evaluations, plan_privacy, test_is_apart
from common.schedule import Schedule, Stage
from common.study import Study
from server.run.checkpoint import RunState
from server.run.history import history_in, most

SAME = 1e-6  # of two epsilons of the same releases, relative: how far rounding takes them apart


def charged_at_most(study: Study, state: RunState) -> float | None:
    """Return the epsilon of a patient at a site that charged every attempt of the run which may have been begun; None
    without privacy, and where no round is left.

    By the study's plan it is the larger of two: what the sites have certified, and each attempt since the last round
    was saved; and all rounds that were saved, each attempt that failed before, of whichever kind, and those since, for
    a site whose answers were lost; one whose ledger has other runs or studies has more, up to the study's epsilon,
    and nobody here knows of it. Where what is certified is no epsilon of the plan's, a ledger has other studies
    beside this one, or judges at a smaller delta, and the same releases cost more there: then it is the study's own
    epsilon, beyond which no ledger goes.
    """
    plan = plan_privacy(study)
    if plan is None or state.round >= Schedule(study).last or not state.history:
        return None
    if state.round >= Schedule(study).tests:
        return plan.epsilon  # in the sums of an inquiry, which are charged beside the others
    history = history_in(state)
    training = most(entry.epsilon for entry in history) or 0.0
    held_out = most(entry.held_out_epsilon for entry in history) or 0.0
    found = [*_further(study, plan, state, training, held_out)]
    known = [value for value in found if value is not None]
    charged = min(max(known, default=0.0), plan.epsilon) if len(known) == len(found) else plan.epsilon
    return max(training, held_out, *(state.certified or ()), charged)


def _further(
    study: Study, plan: PrivacyPlan, state: RunState, training: float, held_out: float
) -> Iterator[float | None]:
    """Epsilon of training and of held-out patients with the attempts that may have been begun; None where it is not
    known.
    """
    schedule, begun = Schedule(study), state.attempt - state.saved_attempt + 1
    trains, scores = _asked(schedule.stage(state.round + 1))
    failed = max(0, state.saved_attempt - 1)  # the first process begins with attempt 1
    saved = [_asked(stage) for stage in schedule.stages(1, state.round)]
    trained = _releases(plan.epsilon_after, training, study.rounds + study.privacy.spare_rounds)
    yield trained if trained is None else plan.epsilon_after(trained + begun * trains)
    yield _all(plan, plan.training(sum(train for train, _ in saved) + failed + begun * trains), failed)
    part = scores or "validation"
    apart = test_is_apart(study)
    after = _of(plan, "validation" if apart else part)
    scored = _releases(after, held_out, evaluations(study))
    tests = apart and scores == "test"
    if scored is None:
        yield None if held_out else 0.0
    else:
        yield _all(plan, plan.evaluation_of("test", begun), failed) if tests else after(scored + begun * bool(scores))
    times = sum(one == "validation" for _, one in saved) + failed + begun * (bool(scores) and not tests)
    yield _all(plan, plan.evaluation_of("validation" if apart else part, times), failed)


def _asked(stage: Stage) -> tuple[bool, str]:
    """Whether it trains, and the part of the cohort that it scores."""
    return UPDATE in stage.asks, scored_by(stage.asks)


def _all(plan: PrivacyPlan, releases: Release, failed: int) -> float:
    """Epsilon of these, and of the statistics, which each attempt that failed may have been."""
    statistics = replace(plan.statistics(), steps=1 + failed)
    return epsilon([statistics, *([releases] if releases.steps else [])], plan.delta, plan.accountant)


def _of(plan: PrivacyPlan, part: str) -> Callable[[int], float]:
    """Epsilon of a patient of this part after so many scores."""

    def after(times: int) -> float:
        scored: list[Release] = [plan.evaluation_of(part, times)] if times else []
        return epsilon([plan.statistics(), *scored], plan.delta, plan.accountant)

    return after


def _releases(after: Callable[[int], float], spent: float, possible: int) -> int | None:
    """How many releases come to what is spent; None where no number of them does."""
    return next((times for times in range(possible + 1) if math.isclose(after(times), spent, rel_tol=SAME)), None)
