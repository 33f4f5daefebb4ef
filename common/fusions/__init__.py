"""Fusions: the tokens of the present modalities become one vector. Each is one file of this package, and one line here.

Each takes `tokens`, one tensor (B, T_m, width) a modality in the study's order, zero where absent, and `present`, bool
(B, M), and gives (B, width), every row for itself. A row with no modality at all gets a constant vector, never nan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import nn

from common.fusions.attention import AttentionFusion
from common.fusions.concat import ConcatFusion
from common.fusions.mean import MeanFusion
from common.fusions.product import ProductFusion
from common.fusions.weighted import WeightedFusion
from common.study import Fusion


class FusionKind(Protocol):
    """A fusion's class."""

    def of(self, fusion: Fusion, counts: Sequence[int]) -> nn.Module:
        """Return a study's fusion, for modalities that give so many tokens each."""


FUSIONS: Mapping[str, FusionKind] = {
    "mean": MeanFusion,
    "weighted": WeightedFusion,
    "product": ProductFusion,
    "concat": ConcatFusion,
    "attention": AttentionFusion,
}


def build_fusion(fusion: Fusion, counts: Sequence[int]) -> nn.Module:
    """Return the study's fusion, for modalities that give `counts` tokens."""
    return FUSIONS[fusion.kind].of(fusion, counts)
