"""Product fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from common.study import Fusion


class ProductFusion(nn.Module):
    """The elementwise product of one factor a modality: 1 + tanh(g_m(x)), in (0, 2), and 1 where absent; less 1.

    The 1 is taken off because the head's bias can say it, and as an input it would use up what clipping leaves.
    """

    @classmethod
    def of(cls, fusion: Fusion, counts: Sequence[int]) -> Self:
        return cls()

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        product = torch.ones_like(tokens[0][:, 0])
        for column, token in enumerate(tokens):
            product = product * torch.where(present[:, column, None], 1 + torch.tanh(token.mean(dim=1)), 1.0)
        return product - 1
