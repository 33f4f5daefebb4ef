"""What fusions share of tokens: their weighted sum, and a modality's mask for each of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def weighted_sum(tokens: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Sum over modalities of the mean token times its column of `weight` (B, M), which is zero where absent."""
    parts = [token.mean(dim=1) * weight[:, column, None] for column, token in enumerate(tokens)]
    return torch.stack(parts).sum(dim=0)


def by_token(present: Tensor, counts: Sequence[int]) -> Tensor:
    """(B, M) -> (B, T): a modality's mask for each of its tokens."""
    columns = [present[:, column, None].repeat(1, count) for column, count in enumerate(counts)]
    return torch.cat(columns, dim=1)
