"""This site's scores of the plan's weights on one part of its cohort. See `common/questions/scores.py`."""

from __future__ import annotations

from client.round.answers.answer import Answered, Asking, Summed
from client.round.failures import of_patients
from client.training.evaluate import evaluate


class ScoresAnswer(Summed):
    """Of the patients of the part that the question names."""

    def of_patients(self, asking: Asking) -> Answered:
        site, cohort = asking.site, asking.cohort
        part = cohort.validation if asking.question.name == "validation" else cohort.test
        failed = of_patients(site, asking.plan, asking.question.kind)
        return Answered(evaluate(site.network, part, site.study, site.device, failed=failed))
