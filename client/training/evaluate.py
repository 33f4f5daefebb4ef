"""Scores of the model on cases, as sums that can be added across sites."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.training.rows import Failed, chunks, of_row, one_by_one
from client.training.subnormal import flushed_to_zero
from common.models.batch import Batch
from common.scores import score_segments, score_sums
from common.study import Study

Sums = dict[str, NDArray[np.float64]]


def evaluate(
    network: nn.Module,
    batch: Batch,
    study: Study,
    device: torch.device | str = "cpu",
    rows: int = 256,
    *,
    alone: bool | None = None,
    failed: Failed | None = None,
) -> Sums:
    """`common.scores.score_sums` of all cases; zeros for no cases.

    `alone` (None: if the study is private): each case by itself, so that one patient changes nobody else's score,
    whatever the weights are, and subnormal numbers flushed to zero, so that none takes longer for them. Otherwise
    `rows` at a time. `failed` is told of a case whose score fails: that case is in no sum.
    """
    network.to(device).eval()
    sums = {segment.name: np.zeros(segment.length) for segment in score_segments(study)}
    alone = study.private if alone is None else alone
    with torch.no_grad(), flushed_to_zero() if alone else nullcontext():
        for part in _parts(batch.to(device), rows, alone):
            for name, value in (of_row(partial(_of, network, study, part), failed) or {}).items():
                sums[name] += value
    return sums


def _of(network: nn.Module, study: Study, part: Batch) -> Sums:
    return score_sums(study, network(part.inputs, part.present), part.target)


def _parts(batch: Batch, rows: int, alone: bool) -> Iterator[Batch]:
    return one_by_one(batch) if alone else chunks(batch, rows)
