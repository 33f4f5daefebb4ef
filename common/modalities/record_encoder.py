"""The encoder of records."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.layers.encoder import ColumnEncoder
from common.layers.perceptron import Standardise, perceptron
from common.modalities.record import Numeric, RecordColumns, RecordModality


class RecordTokens(ColumnEncoder):
    """(B, columns) -> (B, 1, width): standardised values, one-hots and gaps, through a multilayer perceptron.

    With `width=None` there is no perceptron and no parameter: the token is the record itself, which makes a linear
    head on it logistic regression.
    """

    tokens = 1

    def __init__(self, modality: RecordModality, width: int | None) -> None:
        super().__init__()
        self.columns = RecordColumns.of(modality)
        self.missing_indicators = modality.missing_indicators
        normal = [_mean_and_sd(column) for column in modality.numeric.values()]
        self.standardise = Standardise([mean for mean, _ in normal], [sd for _, sd in normal])
        inputs = self.columns.numeric + self.columns.onehot
        if modality.missing_indicators:
            inputs += self.columns.numeric + self.columns.categorical
        self.width = inputs if width is None else width
        self.layers = perceptron([inputs, *modality.encoder.hidden, width]) if width is not None else nn.Identity()

    def forward(self, record: Tensor) -> Tensor:
        columns = self.columns
        missing = record[:, columns.missing]
        parts = [self.standardise(record[:, columns.values], missing[:, : columns.numeric]), record[:, columns.onehots]]
        if self.missing_indicators:
            parts.append(missing)
        tokens: Tensor = self.layers(torch.cat(parts, dim=1))
        return tokens.unsqueeze(1)


def _mean_and_sd(column: Numeric) -> tuple[float, float]:
    """The study's own, or else from the range: its middle, and a quarter of its length."""
    if column.mean is not None and column.sd is not None:
        return column.mean, column.sd
    return (column.low + column.high) / 2, (column.high - column.low) / 4
