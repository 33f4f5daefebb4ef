"""Encoder: what makes tokens of a batch's rows of one modality."""

from __future__ import annotations

from torch import nn

from common.layers.perceptron import Standardise


class Encoder(nn.Module):
    """(B, *shape of a row) -> (B, tokens, width)."""

    tokens: int
    width: int


class ColumnEncoder(Encoder):
    """An encoder of columns whose statistics a secure sum may give."""

    standardise: Standardise
