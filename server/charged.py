"""What sites may have charged for the round of a run that was begun and not saved: its sum is not in the report."""

from __future__ import annotations

from collections.abc import Callable

from common.plan import phase_of
from common.privacy.accounting import Release, epsilon
from common.privacy.plan import PrivacyPlan, evaluations, plan_privacy, test_is_apart
from common.study import Study
from server.checkpoint import RunState
from server.history import history_in
from server.history import most as largest


def charged_at_most(study: Study, state: RunState) -> float | None:
    """Return the epsilon of a patient at a site that charged every attempt which may have been begun since the last
    round was saved; None without privacy, and where no round is left.

    It goes on from what the sites certified in the last round, as by the plan: an estimate where a ledger has other
    studies beside this one. No ledger goes beyond the study's own epsilon.
    """
    plan = plan_privacy(study)
    if plan is None or state.round > study.rounds + 1 or not state.history:
        return None
    history = history_in(state)
    training = largest(entry.epsilon for entry in history) or 0.0
    held_out = largest(entry.held_out_epsilon for entry in history) or 0.0
    begun, phase = state.attempt - state.saved_attempt + 1, phase_of(study, state.round + 1)
    found = [training, held_out]
    if phase.train:
        most = study.rounds + study.privacy.spare_rounds
        found.append(_further(plan.epsilon_after, training, begun, most))
    if phase.evaluate == "test" and test_is_apart(study):
        found.append(_of(plan, "test")(begun))
    elif phase.evaluate:
        found.append(_further(_of(plan, phase.evaluate), held_out, begun, evaluations(study)))
    return max(training, held_out, *(state.certified or ()), min(max(found), plan.epsilon))


def _of(plan: PrivacyPlan, part: str) -> Callable[[int], float]:
    """Epsilon of a patient of this part after so many scores."""

    def after(times: int) -> float:
        scored: list[Release] = [plan.evaluation_of(part, times)] if times else []
        return epsilon([plan.statistics(), *scored], plan.delta, plan.accountant)

    return after


def _further(after: Callable[[int], float], spent: float, more: int, most: int) -> float:
    """Epsilon of `more` releases beside as many as come to what is spent."""
    made = next((times for times in range(most) if after(times) >= spent * (1 - 1e-9)), most)
    return after(made + more)
