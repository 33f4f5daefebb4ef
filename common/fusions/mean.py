"""Mean fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn

from common.fusions.tokens import weighted_sum
from common.study import Fusion


class MeanFusion(nn.Module):
    """The mean over the present modalities of each one's mean token: an image of four tokens counts as one modality."""

    @classmethod
    def of(cls, fusion: Fusion, counts: Sequence[int]) -> Self:
        return cls()

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        weight = present.to(tokens[0].dtype)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1)
        return weighted_sum(tokens, weight)
