"""A study's scores: its task's, with the study's bins and bound, and as its schema and privacy have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from common.study import Study
from common.summand import Segment

if TYPE_CHECKING:  # a connector, that only carries plans, has no PyTorch
    from torch import Tensor

    from common.tasks.task import Counts


def loss_rows(study: Study, output: Tensor, target: Tensor) -> Tensor:
    """Return the loss of each row: (B, outputs), (B, ...) -> (B,)."""
    return study.task.loss_rows(output, target)


def score_segments(study: Study) -> tuple[Segment, ...]:
    """Return the segments of `score_sums`, each bounded by the most cases that a site may have."""
    return study.task.segments(study.evaluation.bins, float(study.secure_sum.max_cases))


def score_sensitivity(study: Study) -> float:
    """Return the most, in L2 norm over all segments, that adding or removing one patient changes `score_sums`."""
    return study.task.sensitivity


def score_sums(study: Study, output: Tensor, target: Tensor) -> dict[str, Counts]:
    """Return what these cases add to the sums of a score, on any device; B may be 0."""
    return study.task.sums(output, target, study.evaluation.bins)


def metrics(study: Study, sums: Mapping[str, Counts], sd: float = 0.0) -> dict[str, float]:
    """Return the measures of summed `score_sums`, other segments ignored; nan where one is not defined.

    sd: of the noise in each entry. A private study of schema 1 takes counts as they are: cut off at 0, noise would
    become patients. Those of schema 0 keep 0.1's figures, in which negative counts are 0.
    """
    clipped = not (study.private and study.schema >= 1)
    return study.task.scores(sums, study.evaluation.bins, sd, clipped=clipped)
