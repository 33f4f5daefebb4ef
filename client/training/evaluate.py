"""Scores of the model on cases, as sums that can be added across sites, and their noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from client.training.clipped_sum import chunks
from common.models.batch import Batch
from common.privacy.mechanism import noisy
from common.study import Study
from common.tasks import score_segments, score_sensitivity, score_sums

Sums = dict[str, NDArray[np.float64]]


def evaluate(
    network: nn.Module, batch: Batch, study: Study, device: torch.device | str = "cpu", rows: int = 256
) -> Sums:
    """`common.tasks.score_sums` of all cases, `rows` at a time; zeros for no cases."""
    network.to(device).eval()
    sums = {segment.name: np.zeros(segment.length) for segment in score_segments(study)}
    with torch.no_grad():
        for part in chunks(batch, rows):
            here = part.to(device)
            for name, value in score_sums(study, network(here.inputs, here.present), here.target).items():
                sums[name] += value
    return sums


def noised(sums: Mapping[str, NDArray[np.float64]], study: Study, noise_multiplier: float) -> Sums:
    """The sums with Gaussian noise in every entry, its sd the multiplier times what one patient changes (L2)."""
    sd = noise_multiplier * score_sensitivity(study)
    return {name: noisy(value, sd) for name, value in sums.items()}
