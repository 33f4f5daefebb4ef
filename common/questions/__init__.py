"""Questions: what a round may ask of every site's cases. Each is one file of this package, and one line in `QUESTIONS`;
what a study asks beside its training (`common/inquiries/`) is one question for each inquiry.

See `question.Question` for what a question can say of itself, and `client/round/answers/` for what a site answers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from common.errors import RunError
from common.plan import RoundPlan
from common.questions.inquired import Inquired
from common.questions.question import Question
from common.questions.scores import Scores
from common.questions.statistics import Statistics
from common.questions.update import Update
from common.study import Study
from common.summand import Layout

if TYPE_CHECKING:  # they load PyTorch, which a connector, that only carries plans, does not have
    from common.parameters import Parameters
    from common.privacy.plan import PrivacyPlan

__all__ = ["QUESTIONS", "Question", "layout_of", "parts_of", "questions_of"]

# In the order of their segments in the vector that is summed.
QUESTIONS: dict[str, Question] = {
    question.name: question
    for question in (
        Statistics(),
        Update(),
        Scores("validation"),
        Scores("test"),
    )
}


def questions_of(asks: Collection[str], study: Study) -> tuple[Question, ...]:
    """Return the questions of these names, in the order of their segments. RunError for a name that this release, or
    the study, has no question for.
    """
    inquired = (Inquired(name, inquiry) for name, inquiry in study.inquiries.items())
    known = QUESTIONS | {question.name: question for question in inquired}
    if not known.keys() >= set(asks):
        raise RunError("The plan asks for what this release of wardround, or the study, does not know.")
    return tuple(question for name, question in known.items() if name in asks)


def layout_of(plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None) -> Layout:
    """Return the segments that every site adds for this plan, each bounded by public constants of the study."""
    found = []
    for question in questions_of(plan.asks, study):
        noise = question.noise(study, privacy) if privacy else None
        tail = noise.tail if noise else 0.0
        segments = question.segments(plan, study, parameters, privacy)
        found += [replace(segment, bound=segment.bound + tail) for segment in segments]
    return Layout(tuple(found))


def parts_of(plan: RoundPlan, study: Study, counted: Collection[str]) -> tuple[str, ...]:
    """Return the parts of the cohort that add to the plan's sum, of those that enough sites signed for."""
    return tuple(sorted({part for question in questions_of(plan.asks, study) for part in question.parts(counted)}))
