"""Concatenation of all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from common.fusions.tokens import by_token
from common.layers.table import TokenTable
from common.study import Fusion


class ConcatFusion(nn.Module):
    """All tokens side by side, learned ones in place of the absent, through a linear layer."""

    def __init__(self, counts: Sequence[int], width: int) -> None:
        super().__init__()
        self.counts = tuple(counts)
        self.missing = TokenTable(range(sum(counts)), width)
        self.project = nn.Linear(sum(counts) * width, width)

    @classmethod
    def of(cls, fusion: Fusion, counts: Sequence[int]) -> Self:
        return cls(counts, fusion.width)

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        keep = by_token(present, self.counts)
        filled = torch.where(keep[:, :, None], torch.cat(tuple(tokens), dim=1), self.missing(len(present)))
        fused: Tensor = self.project(filled.flatten(1))
        return fused
