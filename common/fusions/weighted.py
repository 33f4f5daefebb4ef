"""Weighted fusion: a learned weight a modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from common.fusions.tokens import weighted_sum
from common.layers.table import TokenTable
from common.study import Fusion

_NEVER = -1e9  # a score that softmax turns into 0; finite, so that a row without any modality is not nan


class WeightedFusion(nn.Module):
    """f(x) = sum of w_m g_m(x) over the present modalities; the weights w, learned, add up to 1 over these."""

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.scores = TokenTable(range(modalities), 1, std=0.0)

    @classmethod
    def of(cls, fusion: Fusion, counts: Sequence[int]) -> Self:
        return cls(len(counts))

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        scores = self.scores(len(present)).squeeze(2)
        weight = torch.softmax(torch.where(present, scores, _NEVER), dim=1)
        return weighted_sum(tokens, weight)
