"""Standardise and the multilayer perceptron: what the encoders of records and sequences share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.errors import RunError


class Standardise(nn.Module):
    """(values - mean) / sd, and 0 where a value is missing: a gap looks like the average patient.

    mean and sd are buffers, not parameters: they come from the study, or from statistics that the secure sum added up.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, mean: Sequence[float], sd: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32))
        self.register_buffer("sd", torch.tensor(list(sd), dtype=torch.float32))
        self._own = self.mean.clone(), self.sd.clone()

    def reset(self) -> None:
        """Take the study's own statistics again."""
        mean, sd = self._own
        self.mean.copy_(mean)
        self.sd.copy_(sd)

    def set(self, mean: NDArray[np.float64], sd: NDArray[np.float64]) -> None:
        """Take other statistics. An sd of zero or less (a constant column, or noise) counts as 1."""
        mean, sd = np.array(mean, dtype=np.float64), np.asarray(sd, dtype=np.float64)  # PyTorch warns of read-only ones
        if mean.shape != self.mean.shape or sd.shape != self.sd.shape:
            raise RunError(f"The normaliser has {mean.size} means and {sd.size} sds, the study {self.mean.numel()}.")
        if not (np.isfinite(mean).all() and np.isfinite(sd).all()):
            raise RunError("The normaliser holds numbers that are not finite.")
        self.mean.copy_(torch.from_numpy(mean))
        self.sd.copy_(torch.from_numpy(np.where(sd > 1e-6, sd, 1.0)))

    def forward(self, values: Tensor, missing: Tensor) -> Tensor:
        """values (B, P), missing (B, P) with more than 0.5 where there is a gap -> (B, P)."""
        return torch.where(missing > 0.5, 0.0, (values - self.mean) / self.sd)


def perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers from sizes[0] to sizes[-1], with a ReLU between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
