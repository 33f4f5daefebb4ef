"""This site's statistics of the plan's groups. See `common/questions/statistics.py`."""

from __future__ import annotations

import numpy as np

from client.data.statistics import statistic_sums
from client.round.answers.answer import Answered, Asking, Summed
from common.statistics import statistic_segments


class StatisticsAnswer(Summed):
    """Of the plan's groups only: a modality that few sites have is neither measured nor counted."""

    def of_patients(self, asking: Asking) -> Answered:
        study, groups = asking.site.study, asking.plan.groups
        names = {segment.name for segment in statistic_segments(study, groups)}
        sums = statistic_sums(study, asking.cohort, asking.smallest)
        sums = {name: value for name, value in sums.items() if name in names}
        sums["present"] = sums["present"] * np.isin(study.names, groups)
        return Answered(sums)
