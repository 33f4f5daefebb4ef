"""What a plan asks of the same data, so that the same is not answered over two sets of sites.

Two sums of the same numbers over different sites differ by what the others added. A private site answers with fresh
noise, and pays for it, each time; any other answers over the first set of sites for good.
"""

from __future__ import annotations

from client.round import Site
from common.plan import RoundPlan
from common.secure_sum.encoding import digest, number


def questions(plan: RoundPlan, site: Site) -> tuple[str, ...]:
    """One a kind of answer in the plan, by all that decides it. None where each answer is a new, paid release.

    An update is asked for twice: as what these weights teach, whatever the run, and as this round of this run, whatever
    the weights.
    """
    if site.privacy is not None:
        return ()
    study, cohort = bytes.fromhex(plan.study), site.cohort.version.encode()
    normaliser = [part.tobytes() for _, pair in sorted(plan.normaliser.items()) for part in pair]
    model = digest("model", plan.weights.astype("<f4").tobytes(), *normaliser)
    asked = []
    if plan.statistics:
        asked.append(digest("statistics", study, cohort))
    if plan.evaluate:
        asked.append(digest("scores", study, cohort, plan.evaluate.encode(), model))
    if plan.train:
        asked.append(digest("update", study, cohort, number(plan.round), model))
        asked.append(digest("round", study, plan.run.encode(), number(plan.round)))
    return tuple(question.hex() for question in asked)
