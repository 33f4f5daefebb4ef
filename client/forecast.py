"""Whether the privacy that a study asks for is still there: seen before it runs, not in the round that fails."""

from __future__ import annotations

from pathlib import Path

from client.ledger import ROUNDING, Cohort, Entry, Ledger
from common.errors import BudgetError
from common.privacy.accounting import Release
from common.privacy.plan import PrivacyPlan
from common.study import Study

LEDGER_FILE = "ledger.jsonl"


def forecast(state: Path, study: Study, plan: PrivacyPlan) -> tuple[float, float]:
    """Epsilon of the patients who spent most, by what is in the site's ledger: now, and after one more whole run."""
    path = state / LEDGER_FILE
    if not path.exists():  # nothing was ever released; and reading must not make a ledger
        return 0.0, plan.epsilon
    ledger, digest = Ledger(path), study.digest
    return (
        ledger.spent(plan.delta, None, plan.accountant, digest),
        ledger.after(left(study, plan), plan.delta, plan.accountant, digest),
    )


def left(study: Study, plan: PrivacyPlan, first: int = 0) -> list[Entry]:
    """What a run releases from round `first` to its end: 0 statistics, 1..N training, N+1 the last score, N+2 the
    test. None of the study's spare rounds is in it.
    """
    begins, rounds, every = max(first, 0), study.rounds, study.evaluation.every
    trained = max(0, rounds - max(begins, 1) + 1)
    scored = {1, rounds + 1, *range(every + 1, rounds + 2, every), rounds + 2}
    scores = sum(number >= begins for number in scored)
    statistics = (plan.statistics(),) if begins == 0 else ()
    training = (*statistics, *((plan.training(trained),) if trained else ()))
    held_out = (*statistics, *((plan.evaluation(scores),) if scores else ()))
    both: tuple[tuple[Cohort, tuple[Release, ...]], ...] = (("training", training), ("held_out", held_out))
    return [Entry(study.digest, "", begins, 0, cohort, releases) for cohort, releases in both if releases]


def require_carried(state: Path, study: Study, plan: PrivacyPlan | None, first: int) -> None:
    """BudgetError when the budget ends before a run that goes on from round `first` does.

    The study and the ledger decide, and no patient: the answer costs nothing.
    """
    path = state / LEDGER_FILE
    if plan is None or first > study.rounds + 2 or not path.exists():
        return
    then = Ledger(path).after(left(study, plan, first), plan.delta, plan.accountant, study.digest)
    if not then <= plan.epsilon * ROUNDING:
        raise BudgetError(
            f"The budget does not carry this run to its end: from round {max(first, 0)} on it would bring epsilon to "
            f"{then:.3f}, and the limit is {plan.epsilon:g}, over all studies and runs. Nothing was charged."
        )


def said_of(state: Path, study: Study, plan: PrivacyPlan) -> str:
    """The forecast in a sentence; nothing where nothing is spent, or the whole study still fits."""
    spent, then = forecast(state, study, plan)
    if then <= plan.epsilon:
        return ""
    return (
        f"epsilon {spent:.3f} is spent here already, over all studies; a whole run of this one would bring it to "
        f"{then:.3f}, and stops before it passes the study's {plan.epsilon:g}"
    )
