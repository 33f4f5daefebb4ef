"""One round at this site, top to bottom: check, charge, work, and hand over what may be summed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, cast

from numpy.typing import NDArray

from client.data.split import PARTS
from client.round.answers import ANSWERS
from client.round.answers.answer import Answered, Asking, Values, ready
from client.round.charges import certified, charge
from client.round.failures import answered, clamped, fitting
from client.round.limits import require_honest_normaliser, require_honest_weights
from client.round.session import Site
from common.errors import RunError
from common.plan import Declaration, RoundPlan
from common.questions import layout_of, questions_of
from common.questions.inquired import Inquired
from common.summand import Layout, Summand


@dataclass(frozen=True)
class Worked:
    """A round's work at one site: what goes into the sum, by the plan's layout, and what may be said beside it."""

    summand: Summand = field(repr=False)
    layout: Layout
    steps: int
    epsilon: float
    held_out_epsilon: float


def work(plan: RoundPlan, site: Site, signed: Declaration | None = None, smallest: int = 1) -> Worked:
    """Do what the plan asks with this site's cases and return what goes into the sum.

    signed: what this site signed for, of it the parts that are counted, and whether any site of the sum waits for lost
        ones; None: everything that it has, and none waits
    smallest: without privacy, the fewest known values with which a column is in the statistics, and the fewest patients
        whose training is handed over

    Everything that could refuse comes first, then the ledger is charged, and only then is any case touched: a crash
    must never make a round free.
    """
    layout = layout_of(plan, site.study, site.parameters, site.privacy)
    _require(plan, site)
    signed = Declaration(site.declared, PARTS, waits=False) if signed is None else signed
    ready(plan, site)
    charge(plan, site)
    values: dict[str, Values] = {}
    steps = 0
    for question in sorted(questions_of(plan.asks, site.study), key=lambda question: ANSWERS[question.kind].moves):
        answer = _answer(Asking(question, plan, site, signed, 1 if site.privacy else smallest), layout)
        values |= answer.values
        steps += answer.steps
    spent = certified(site)
    return Worked(layout.summand(clamped(values, layout) if site.privacy else values), layout, steps, *spent)


def _answer(asking: Asking, layout: Layout) -> Answered:
    """The answer to one question, with its noise; of nobody, where it fails after a charge."""
    answer = ANSWERS[asking.question.kind]
    return answered(
        asking.site,
        asking.plan,
        asking.question.kind,
        lambda: _noised(asking, answer.of_patients(asking), layout),
        lambda: _noised(asking, answer.of_nobody(asking), layout),
    )


def _noised(asking: Asking, answer: Answered, layout: Layout) -> Answered:
    site, values = asking.site, fitting(answer.values, layout)
    noise = asking.question.noise(site.study, site.privacy) if site.privacy else None
    if noise is None:
        return Answered(values, answer.steps)
    return Answered({name: noise.added_to(cast(NDArray[Any], value)) for name, value in values.items()}, answer.steps)


def rounding(plan: RoundPlan, site: Site) -> tuple[int, ...]:
    """The seed of rounding: the study's, the site and the round; apart from noise and masks, and no secret.

    Not the number of the sum: a repeated attempt must round alike, so that its sum shows nothing that the first did
    not, and a resumed run ends in the same weights.
    """
    name = int.from_bytes(hashlib.sha256(site.name.encode()).digest()[:8], "big")
    return site.study.seed, name, plan.round


def _require(plan: RoundPlan, site: Site) -> None:
    if plan.study != site.study.digest:
        raise RunError("The plan is of another study than the one approved here.")
    asked = questions_of(plan.asks, site.study)
    if plan.opened and not any(isinstance(question, Inquired) for question in asked):
        raise RunError("The plan names opened sums, and asks nothing that is built on any.")
    for question in asked:
        question.require(plan, site.study)
    if plan.weights.size != site.parameters.length:
        raise RunError("The plan's weights do not fit the study's network.")
    require_honest_weights(plan, site.study)
    require_honest_normaliser(plan, site.study)
    if not set(plan.groups) <= set(site.parameters.groups):
        raise RunError("The plan trains a group of parameters that the study's network does not have.")
    site.refresh()
    _ = site.cohort, site.device  # before anything is charged: a wrong file must cost nothing
