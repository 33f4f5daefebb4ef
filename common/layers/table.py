"""Learned vectors that belong to no input: class token, missing tokens, modality types."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class TokenTable(nn.Module):
    """Learned vectors, given to every row of a batch.

    They sit in an nn.Embedding that is looked up once for each row, and not in a bare nn.Parameter that is broadcast:
    only so does Opacus see what each patient adds to their gradient. `repeat` and not `expand`, because its ghost
    norms need contiguous ids.
    """

    ids: Tensor

    def __init__(self, ids: Sequence[int], width: int, *, std: float = 0.02) -> None:
        """`ids`: which of the vectors stand at which place; their largest, plus one, is the number of vectors."""
        super().__init__()
        self.table = nn.Embedding(max(ids) + 1, width)
        nn.init.normal_(self.table.weight, std=std)
        self.register_buffer("ids", torch.tensor(list(ids)), persistent=False)

    def forward(self, rows: int) -> Tensor:
        """(rows, places, width)."""
        vectors: Tensor = self.table(self.ids.repeat(rows, 1))
        return vectors
