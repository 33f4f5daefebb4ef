"""Fusion: the tokens of the present modalities become one vector. Every row for itself.

Each fusion takes `tokens`, one tensor (B, T_m, width) a modality in the study's order, zero where absent, and
`present`, bool (B, M), and gives (B, width). A row with no modality at all gets a constant vector, never nan.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.layers.attention import Block
from common.layers.table import TokenTable
from common.study import Fusion

_NEVER = -1e9  # a score that softmax turns into 0; finite, so that a row without any modality is not nan


class MeanFusion(nn.Module):
    """The mean over the present modalities of each one's mean token: an image of four tokens counts as one modality."""

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        weight = present.to(tokens[0].dtype)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1)
        return _weighted_sum(tokens, weight)


class WeightedFusion(nn.Module):
    """f(x) = sum of w_m g_m(x) over the present modalities; the weights w, learned, add up to 1 over these."""

    def __init__(self, modalities: int) -> None:
        super().__init__()
        self.scores = TokenTable(range(modalities), 1, std=0.0)

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        scores = self.scores(len(present)).squeeze(2)
        weight = torch.softmax(torch.where(present, scores, _NEVER), dim=1)
        return _weighted_sum(tokens, weight)


class ProductFusion(nn.Module):
    """The elementwise product of one factor a modality: 1 + tanh(g_m(x)), in (0, 2), and 1 where absent; less 1.

    The 1 is taken off because the head's bias can say it, and as an input it would use up what clipping leaves.
    """

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        product = torch.ones_like(tokens[0][:, 0])
        for column, token in enumerate(tokens):
            product = product * torch.where(present[:, column, None], 1 + torch.tanh(token.mean(dim=1)), 1.0)
        return product - 1


class ConcatFusion(nn.Module):
    """All tokens side by side, learned ones in place of the absent, through a linear layer."""

    def __init__(self, counts: Sequence[int], width: int) -> None:
        super().__init__()
        self.counts = tuple(counts)
        self.missing = TokenTable(range(sum(counts)), width)
        self.project = nn.Linear(sum(counts) * width, width)

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        keep = _by_token(present, self.counts)
        filled = torch.where(keep[:, :, None], torch.cat(tuple(tokens), dim=1), self.missing(len(present)))
        fused: Tensor = self.project(filled.flatten(1))
        return fused


class AttentionFusion(nn.Module):
    """A class token that looks at the present tokens through pre-norm blocks; each token says its modality."""

    def __init__(self, counts: Sequence[int], width: int, *, heads: int, layers: int) -> None:
        super().__init__()
        self.counts = tuple(counts)
        self.start = TokenTable([0], width)
        self.kind = TokenTable([column for column, count in enumerate(counts) for _ in range(count)], width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Sequence[Tensor], present: Tensor) -> Tensor:
        rows = len(present)
        keep = torch.cat([present.new_ones(rows, 1), _by_token(present, self.counts)], dim=1)
        stream = torch.cat([self.start(rows), torch.cat(tuple(tokens), dim=1) + self.kind(rows)], dim=1)
        for block in self.blocks:
            stream = block(stream, keep)
        fused: Tensor = self.norm(stream[:, 0])
        return fused


def build_fusion(fusion: Fusion, counts: Sequence[int]) -> nn.Module:
    """The study's fusion, for modalities that give `counts` tokens."""
    match fusion.kind:
        case "mean":
            return MeanFusion()
        case "weighted":
            return WeightedFusion(len(counts))
        case "product":
            return ProductFusion()
        case "concat":
            return ConcatFusion(counts, fusion.width)
        case "attention":
            return AttentionFusion(counts, fusion.width, heads=fusion.heads, layers=fusion.layers)


def drop_modalities(present: Tensor, probability: float, draws: Tensor) -> Tensor:
    """Modality dropout for training: each present modality of each row is hidden with `probability`.

    A row that would lose all of them keeps all. `draws`: numbers in [0, 1), on the CPU, of the shape of `present`,
    bool (B, M). They are drawn outside of the network, so that it is a function of its inputs alone and both ways of
    clipping see the same rows; and by the caller, because with privacy they must come from the operating system, else
    a patient's place in the sample would decide the masks of all others.
    """
    kept = present & (draws >= probability).to(present.device)
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)


def _weighted_sum(tokens: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Sum over modalities of the mean token times its column of `weight` (B, M), which is zero where absent."""
    parts = [token.mean(dim=1) * weight[:, column, None] for column, token in enumerate(tokens)]
    return torch.stack(parts).sum(dim=0)


def _by_token(present: Tensor, counts: Sequence[int]) -> Tensor:
    """(B, M) -> (B, T): a modality's mask for each of its tokens."""
    columns = [present[:, column, None].repeat(1, count) for column, count in enumerate(counts)]
    return torch.cat(columns, dim=1)
