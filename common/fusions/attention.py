"""Attention over all tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from common.fusions.tokens import by_token
from common.layers.attention import Block
from common.layers.table import TokenTable
from common.study import Fusion


class AttentionFusion(nn.Module):
    """A class token that looks at the present tokens through pre-norm blocks; each token says its modality."""

    def __init__(self, counts: Sequence[int], width: int, *, heads: int, layers: int) -> None:
        super().__init__()
        self.counts = tuple(counts)
        self.start = TokenTable([0], width)
        self.kind = TokenTable([column for column, count in enumerate(counts) for _ in range(count)], width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    @classmethod
    def of(cls, fusion: Fusion, counts: Sequence[int]) -> Self:
        return cls(counts, fusion.width, heads=fusion.heads, layers=fusion.layers)

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        rows = len(present)
        keep = torch.cat([present.new_ones(rows, 1), by_token(present, self.counts)], dim=1)
        stream = torch.cat([self.start(rows), torch.cat(tuple(tokens), dim=1) + self.kind(rows)], dim=1)
        for block in self.blocks:
            stream = block(stream, keep)
        fused: Tensor = self.norm(stream[:, 0])
        return fused
