"""Whether the privacy that a study asks for is still there: seen before it runs, not in the round that fails."""

from __future__ import annotations

from pathlib import Path

from client.ledger import Entry, Ledger
from common.privacy.plan import PrivacyPlan, evaluations
from common.study import Study

LEDGER_FILE = "ledger.jsonl"


def forecast(state: Path, study: Study, plan: PrivacyPlan) -> tuple[float, float]:
    """Epsilon of the patients who spent most, by what is in the site's ledger: now, and after one more whole run."""
    path = state / LEDGER_FILE
    if not path.exists():  # nothing was ever released; and reading must not make a ledger
        return 0.0, plan.epsilon
    ledger, digest = Ledger(path), study.digest
    training = Entry(digest, "", 0, 0, "training", (plan.statistics(), plan.training(study.rounds)))
    scores = evaluations(study) - study.privacy.spare_rounds
    held_out = Entry(digest, "", 0, 0, "held_out", (plan.statistics(), plan.evaluation(scores)))
    return (
        ledger.spent(plan.delta, None, plan.accountant, digest),
        ledger.after([training, held_out], plan.delta, plan.accountant, digest),
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
