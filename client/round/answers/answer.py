"""What this site answers to a question: the interface of an answer, and what a round gives it to work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from client.data.cohort import Cohort
from client.round.session import Site
from common.inquiries.inquiry import Inquiry, opened_of
from common.models.network import set_normaliser, use_modalities
from common.parameters import load
from common.plan import Declaration, RoundPlan
from common.questions import Question
from common.questions.inquired import Inquired

if TYPE_CHECKING:
    from common.inquiries.inquiry import Opened

Values = NDArray[Any] | tuple[NDArray[Any], float]


@dataclass(frozen=True)
class Asking:
    """One question of one round.

    signed: what this site signed for, of it the parts that are counted, and whether any site of the sum waits for lost
        ones
    smallest: without privacy, the fewest known values with which a column is in the statistics, the fewest patients
        with a part of a target that has several for it to be in any sum, and the fewest whose training is handed over;
        1 with privacy
    """

    question: Question
    plan: RoundPlan
    site: Site
    signed: Declaration
    smallest: int

    @property
    def inquired(self) -> tuple[Inquiry, Opened]:
        """The inquiry that is asked, and what its sums came to before."""
        assert isinstance(self.question, Inquired)
        return self.question.inquiry, opened_of(self.plan.opened, self.question.called)

    @property
    def cohort(self) -> Cohort:
        """This site's cases as the plan's sum takes them."""
        names = [name for name in self.plan.used(self.site.study) if name in self.signed.modalities]
        cohort = self.site.seen_with(names).filled(self.signed.parts)
        return cohort.with_enough(self.site.study.task, self.smallest)


@dataclass(frozen=True)
class Answered:
    """Values by segment, without the question's noise; and the steps of training that may be told."""

    values: Mapping[str, Values] = field(repr=False)
    steps: int = 0


class Answer(Protocol):
    """One kind of answer.

    moves: whether it changes the network, so that the others are made before it
    """

    moves: ClassVar[bool]

    def of_patients(self, asking: Asking) -> Answered:
        """Return the answer of this site's cases."""

    def of_nobody(self, asking: Asking) -> Answered:
        """Return, in a private study, what a site without patients answers: it looks at none."""


class Summed:
    """What is summed and then noised: of nobody, zeros."""

    moves: ClassVar[bool] = False

    def of_nobody(self, asking: Asking) -> Answered:
        site = asking.site
        segments = asking.question.segments(asking.plan, site.study, site.parameters, site.privacy)
        return Answered({segment.name: np.zeros(segment.length) for segment in segments})


def ready(plan: RoundPlan, site: Site) -> None:
    """Bring the site's network into the state that the plan starts from: no patient decides whether it can be so."""
    load(site.network, plan.weights)
    set_normaliser(site.network, dict(plan.normaliser))
    use_modalities(site.network, plan.used(site.study))
