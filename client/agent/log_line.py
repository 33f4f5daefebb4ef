"""What a site was asked, and did, in a line of its own log: run, round, work, seconds; nothing of a patient."""

from __future__ import annotations

from common.messages import JoinRequest, Refusal, Reply, Request, RoundRequest
from common.plan import RoundPlan
from common.questions import questions_of
from common.schedule import Schedule
from common.study import Study

_DONE = {
    "OfferRequest": "offered to take part in a secure sum",
    "ConfirmRequest": "confirmed who is in the sum",
    "RevealRequest": "gave its shares, so that the sum can be opened",
}


def in_a_line(request: Request | Reply, reply: Request | Reply, run: str, study: Study, seconds: float) -> str:
    """One request and its answer. `run`: the one that was joined last."""
    if isinstance(request, RoundRequest):
        asked, run = _work(request.plan, study), request.plan.run
    elif isinstance(request, JoinRequest):
        asked, run = "asked to join" if isinstance(reply, Refusal) else "joined", request.run
    else:
        asked = _DONE.get(type(request).__name__, type(request).__name__)
    ended = f"refused ({reply.code})" if isinstance(reply, Refusal) else "done"
    return f"{study.study}, run {run or 'none yet'}: {asked}: {ended} in {seconds:.1f} s"


def _work(plan: RoundPlan, study: Study) -> str:
    """What a plan asks for, and in which round of how many."""
    asked = " and ".join(question.asked for question in questions_of(plan.asks, study)) or "nothing"
    again = f", attempt {plan.attempt}" if plan.attempt > 1 else ""
    return f"{Schedule(study).title(plan.round)}{again}: {asked}"
