"""The encoder of gene vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.layers.encoder import ColumnEncoder
from common.layers.perceptron import Standardise, perceptron
from common.modalities.sequence import SequenceModality


class SequenceTokens(ColumnEncoder):
    """(B, 2, genes), values and gaps -> (B, tokens, width): standardised, through a multilayer perceptron.

    With `width=None` there is no perceptron and no parameter: the token is the standardised vector with its gaps.
    """

    def __init__(self, modality: SequenceModality, width: int | None) -> None:
        super().__init__()
        genes = len(modality.genes)
        self.standardise = Standardise(_each(modality.mean, genes), _each(modality.sd, genes))
        self.tokens = 1 if width is None else modality.encoder.tokens
        self.width = 2 * genes if width is None else width
        sizes = [2 * genes, *modality.encoder.hidden, self.tokens * self.width]
        self.layers = perceptron(sizes) if width is not None else nn.Identity()

    def forward(self, sequence: Tensor) -> Tensor:
        values, missing = sequence[:, 0], sequence[:, 1]
        tokens: Tensor = self.layers(torch.cat([self.standardise(values, missing), missing], dim=1))
        return tokens.reshape(len(sequence), self.tokens, self.width)


def _each(value: float | list[float], genes: int) -> list[float]:
    return value if isinstance(value, list) else [value] * genes
