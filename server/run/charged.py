"""What sites may have charged for the round of a run that was begun and not saved: its sum is not in the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from common.plan import phase_of
from common.privacy.accounting import Release, epsilon
from common.privacy.plan import PrivacyPlan, evaluations, plan_privacy, test_is_apart
from common.study import Study
from server.run.checkpoint import RunState
from server.run.history import history_in, most

SAME = 1e-6  # of two epsilons of the same releases, relative: how far rounding takes them apart


def charged_at_most(study: Study, state: RunState) -> float | None:
    """Return the epsilon of a patient at a site that charged every attempt which may have been begun since the last
    round was saved; None without privacy, and where no round is left.

    It goes on, by the study's plan, from the largest that the sites have certified. Where that is no epsilon of the
    plan's, a ledger has other studies beside this one, or judges at a smaller delta, and the same releases cost more
    there: then it is the study's own epsilon, beyond which no ledger goes. Of a site that has certified less than
    another, but would be charged more for the next round, nothing is known here.
    """
    plan = plan_privacy(study)
    if plan is None or state.round > study.rounds + 1 or not state.history:
        return None
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
    begun, phase = state.attempt - state.saved_attempt + 1, phase_of(study, state.round + 1)
    trained = _releases(plan.epsilon_after, training, study.rounds + study.privacy.spare_rounds)
    yield trained if trained is None else plan.epsilon_after(trained + begun * phase.train)
    part = phase.evaluate or "validation"
    after = _of(plan, "validation" if test_is_apart(study) else part)
    scored = _releases(after, held_out, evaluations(study))
    if scored is None:
        yield None if held_out else 0.0
    elif phase.evaluate == "test" and test_is_apart(study):
        yield _of(plan, "test")(begun)
    else:
        yield after(scored + begun * bool(phase.evaluate))


def _of(plan: PrivacyPlan, part: str) -> Callable[[int], float]:
    """Epsilon of a patient of this part after so many scores."""

    def after(times: int) -> float:
        scored: list[Release] = [plan.evaluation_of(part, times)] if times else []
        return epsilon([plan.statistics(), *scored], plan.delta, plan.accountant)

    return after


def _releases(after: Callable[[int], float], spent: float, possible: int) -> int | None:
    """How many releases come to what is spent; None where no number of them does."""
    return next((times for times in range(possible + 1) if math.isclose(after(times), spent, rel_tol=SAME)), None)
