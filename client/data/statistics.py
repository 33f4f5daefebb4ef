"""What this site adds to the summed statistics: counts, and moments of its training cases. See common.statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from client.data.cohort import Cohort
from common.models.batch import Batch
from common.statistics import ranges
from common.study import Study

Vector = NDArray[np.float64]


def statistic_sums(study: Study, cohort: Cohort, smallest: int = 1) -> dict[str, Vector]:
    """Segment -> values, exact and without noise: they leave this site in a secure sum only.

    smallest: the moments of a column with fewer known values here are zeros, as if none had one: where no other site
        has the column, the sum would be these patients' alone
    """
    parts = (cohort.train, cohort.validation, cohort.test)
    sums = {
        "cases": np.array([len(part) for part in parts], dtype=np.float64),
        "present": np.sum([np.asarray(part.present).sum(axis=0) for part in parts], axis=0).astype(np.float64),
        "classes": study.task.counted(np.asarray(cohort.train.target)),
    }
    for name, (low, high) in ranges(study).items():
        values, known = _values(study, name, cohort.train)
        with np.errstate(invalid="ignore", over="ignore"):  # a patient's value, or a range, that is infinite
            scaled = np.clip((values - low) / (high - low), 0.0, 1.0)
        scaled = np.where(known, np.nan_to_num(scaled), 0.0)  # of each patient: one NaN would be the sum of all
        moments = np.stack([known.sum(axis=0), scaled.sum(axis=0), (scaled**2).sum(axis=0)], axis=1).astype(np.float64)
        moments[moments[:, 0] < smallest] = 0.0
        sums[f"moments/{name}"] = moments.reshape(-1)
    return sums


def _values(study: Study, name: str, batch: Batch) -> tuple[Vector, NDArray[np.bool_]]:
    """(B, P) values, and which of them are known: the modality is present, and the column has no gap."""
    tensor, modality = batch.inputs[name], study.modalities[name]
    values, missing = modality.columns_of(tensor)
    present = np.asarray(batch.present)[:, [study.names.index(name)]]
    return _double(values), present & (_double(missing) == 0.0)


def _double(tensor: Tensor) -> Vector:
    return np.asarray(tensor, dtype=np.float64)
