"""Batch: some patients' cases as tensors, and which modalities each of them has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B cases. Where a modality is absent its rows are zeros, always finite, and `present` is false.

    inputs: modality name -> tensor, in the study's order, rows first:
        image     float32 (B, slices, size, size) in [0, 1]
        record    float32 (B, columns)   values, one-hots, then missing indicators: see `RecordColumns`
        note      int64   (B, max_tokens) token ids, 0 is padding
        sequence  float32 (B, 2, genes)  values (0 where missing), then 1.0 where missing
    present: bool (B, M), columns in the study's order of modalities
    target: (B, ...) as the study's task has it; of a class int64 (B,), its index
    """

    inputs: dict[str, Tensor]
    present: Tensor
    target: Tensor

    def __len__(self) -> int:
        return int(self.target.shape[0])

    def rows(self, index: Tensor | Sequence[int]) -> Batch:
        """The cases at `index`, in that order; an empty index gives an empty batch of the same shapes."""
        chosen = torch.as_tensor(index, dtype=torch.long)
        return Batch(
            {name: value[chosen] for name, value in self.inputs.items()}, self.present[chosen], self.target[chosen]
        )

    def to(self, device: torch.device | str) -> Batch:
        return Batch(
            {name: value.to(device) for name, value in self.inputs.items()},
            self.present.to(device),
            self.target.to(device),
        )

    def only(self, names: Collection[str]) -> Batch:
        """The same cases as somebody sees them who has only these modalities: the others are absent, and zeros."""
        shown = torch.tensor([name in names for name in self.inputs], device=self.present.device)
        inputs = {name: value if name in names else torch.zeros_like(value) for name, value in self.inputs.items()}
        return Batch(inputs, self.present & shown, self.target)

    def with_any(self) -> Batch:
        """Those of the cases that have any modality at all."""
        having = self.present.any(dim=1)
        return self if bool(having.all()) else self.rows(having.nonzero().reshape(-1))

    @staticmethod
    def join(parts: Sequence[Batch]) -> Batch:
        """One batch out of several of the same study."""
        return Batch(
            {name: torch.cat([part.inputs[name] for part in parts]) for name in parts[0].inputs},
            torch.cat([part.present for part in parts]),
            torch.cat([part.target for part in parts]),
        )
