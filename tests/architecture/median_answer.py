"""A site's half of the inquiry of `median_inquiry.py`: how many of its patients are below the middle."""

from __future__ import annotations

from typing import cast

import numpy as np
from common.inquiries.median import Median

from client.round.answers.answer import Answered, Asking, Summed


class MedianAnswer(Summed):
    def of_patients(self, asking: Asking) -> Answered:
        inquiry, opened = asking.inquired
        median, study = cast(Median, inquiry), asking.site.study
        modality = study.modalities[median.modality]
        place, cohort = list(modality.numeric).index(median.column), asking.cohort
        low, high = modality.numeric[median.column].low, modality.numeric[median.column].high
        middle, below, known = median.middle(opened), 0, 0
        for part in (cohort.train, cohort.test):
            values, missing = modality.columns_of(part.inputs[median.modality])
            there = np.asarray(part.present)[:, study.names.index(median.modality)] & ~np.asarray(missing)[
                :, place
            ].astype(bool)
            known += int(there.sum())
            below += int((np.asarray(values, np.float64)[there, place] < middle).sum())
        assert low <= middle <= high
        name = asking.question.name
        return Answered({f"{name}/below": np.array([float(below)]), f"{name}/known": np.array([float(known)])})
