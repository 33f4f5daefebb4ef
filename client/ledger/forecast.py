"""Whether the privacy that a study asks for is still there: seen before it runs, not in the round that fails."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from client.ledger.accounts import LEDGER_FILE, ledger_of
from client.ledger.ledger import ROUNDING, Entry
from common.errors import BudgetError
from common.privacy.accounting import Kind, Release
from common.privacy.accounts import Account
from common.privacy.plan import PrivacyPlan
from common.questions import questions_of
from common.schedule import Schedule
from common.study import Study

__all__ = ["LEDGER_FILE", "forecast", "left", "require_carried", "said_of"]


def forecast(state: Path, study: Study, plan: PrivacyPlan, delta: float | None = None) -> tuple[float, float]:
    """Epsilon of the patients who spent most, by what is in the site's ledger: now, and after one more whole run.

    delta: at which the site judges; the study's, if none is given
    """
    ledger, judged = ledger_of(state), delta or plan.delta
    if not ledger.entries() and judged == plan.delta:
        return 0.0, plan.epsilon
    return (
        ledger.spent(judged, None, plan.accountant, study.digest),
        ledger.after(left(study, plan), judged, plan.accountant, study.digest),
    )


def left(study: Study, plan: PrivacyPlan, first: int = 0) -> list[Entry]:
    """What a run releases from round `first` to its end. None of the study's spare rounds is in it."""
    begins = max(first, 0)
    found: dict[Account, Counter[tuple[Kind, float, float]]] = {}
    for stage in Schedule(study).stages(begins):
        for question in questions_of(stage.asks, study):
            one = question.release(plan)
            for account in question.accounts(study):
                charged = found.setdefault(account, Counter())
                charged[one.kind, one.noise_multiplier, one.sample_rate] += one.steps
    return [
        Entry(study.digest, "", begins, 0, account, tuple(Release(*what, steps) for what, steps in charged.items()))
        for account, charged in found.items()
    ]


def require_carried(
    state: Path, study: Study, plan: PrivacyPlan | None, first: int, delta: float | None = None
) -> None:
    """BudgetError when the budget ends before a run that goes on from round `first` does.

    The study and the ledger decide, and no patient: the answer costs nothing. delta: as for `forecast`
    """
    if plan is None or first > Schedule(study).last:
        return
    ledger = ledger_of(state)
    if not ledger.entries():
        return
    then = ledger.after(left(study, plan, first), delta or plan.delta, plan.accountant, study.digest)
    if not then <= plan.epsilon * ROUNDING:
        raise BudgetError(
            f"The budget does not carry this run to its end: from round {max(first, 0)} on it would bring epsilon to "
            f"{then:.3f}, and the limit is {plan.epsilon:g}, over all studies and runs. Nothing was charged."
        )


def said_of(state: Path, study: Study, plan: PrivacyPlan, delta: float | None = None) -> str:
    """The forecast in a sentence; nothing where nothing is spent, or the whole study still fits."""
    spent, then = forecast(state, study, plan, delta)
    if then <= plan.epsilon:
        return ""
    return (
        f"epsilon {spent:.3f} is spent here already, over all studies; a whole run of this one would bring it to "
        f"{then:.3f}, above the study's {plan.epsilon:g}: such a run is not begun"
    )
