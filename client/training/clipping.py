"""What a clipper is, and the arithmetic of clipping: norms of which rounding cannot lose more than the margin.

A float32 norm of many numbers is too small by more than any margin: 2e-4 at 10^5 numbers, 1 % at 2 * 10^7. Here blocks
of 64 numbers are squared and added in float32, which loses at most 64 * 2^-24 < 4e-6 of the block's square, and the
blocks are added in float64. That costs what the float32 norm costs. The square of a number below 2^-63 is lost there,
and counts as 2^-126, the most that it can be: a study's bound may be as small as such numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from common.models.batch import Batch

_MARGIN = 1 - 1e-5
_BLOCK = 64
_LOST = 2.0**-126  # float32's smallest normal number: squares below it count as 0 where these are flushed
_EXACT = 1 << 14  # numbers up to which the whole norm is taken in float64: below that it is the faster way


class Clipper(Protocol):
    """Made once a training, and closed after it."""

    def sum(self, batch: Batch, bound: float) -> Tensor:
        """Flat float64 sum, over the rows, of each row's gradient clipped to L2 norm `bound`.

        The order is that of `named_parameters`, without the frozen ones. No rows give zeros.
        """

    def close(self) -> None:
        """Leave the network as it was before."""


def norms(gradients: Sequence[Tensor], rows: int) -> Tensor:
    """float64 (rows,): the L2 norm of each row's gradient, of tensors (rows, ...). Zeros where there are no tensors."""
    if not gradients:
        return torch.zeros(rows, dtype=torch.float64)
    parts = torch.stack([_norms(gradient.reshape(rows, -1)) for gradient in gradients])
    return _norm(parts, 0)


def factors(norm: Tensor, bound: float) -> Tensor:
    """What each gradient is multiplied by: 1 within the bound, bound / norm above, 0 for a norm that is not finite.

    It aims a hair below the bound, so that rounding stays inside.
    """
    return torch.where(torch.isfinite(norm), (bound * _MARGIN / norm).clamp(max=1.0), 0.0)


def zeros(parameters: Sequence[Tensor]) -> list[Tensor]:
    """A float64 tensor of zeros for each parameter."""
    return [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]


def _norms(gradient: Tensor) -> Tensor:
    """float64 (rows,) of a tensor (rows, n)."""
    rows, length = gradient.shape
    if length <= _EXACT:
        return _norm(gradient, 1)
    whole = length // _BLOCK * _BLOCK
    blocks = torch.linalg.vector_norm(gradient[:, :whole].reshape(rows, -1, _BLOCK), dim=2).double()
    rest = gradient[:, whole:].double()
    lost = blocks.new_full((rows, 1), math.sqrt(whole * _LOST))
    return _norm(torch.cat([blocks, rest, lost], dim=1), 1)


def _norm(tensor: Tensor, dim: int) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(tensor, dim=dim, dtype=torch.float64)
    return found
