"""Encoder: what makes tokens of a batch's rows of one modality."""

from __future__ import annotations

from torch import Tensor, nn

from common.layers.perceptron import Standardise


class Encoder(nn.Module):
    """(B, *shape of a row) -> (B, tokens, width)."""

    tokens: int
    width: int
    map_shapes: tuple[tuple[int, int, int], ...] = ()  # channels, height, width of each of `with_maps`; none without

    def with_maps(self, rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the tokens, and the row and its features before they lose their places, ever coarser."""
        raise NotImplementedError


class ColumnEncoder(Encoder):
    """An encoder of columns whose statistics a secure sum may give."""

    standardise: Standardise
