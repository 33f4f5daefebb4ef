"""Records: where each column stands in its tensor, and the encoder that reads it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.layers.perceptron import Standardise, perceptron
from common.study import Numeric, RecordModality


@dataclass(frozen=True)
class RecordColumns:
    """The tensor of a record is float32 (B, width). The data side writes this order, the encoder reads it:

    values      P numbers, in the order of `numeric`, clipped to [low, high], 0 where missing; not normalised
    one-hots    for each categorical column its categories in the study's order (without the first if `drop_first`);
                all zero where missing
    missing     P + Q indicators, 1.0 where the numeric, then the categorical, column has a gap
    """

    numeric: int
    onehot: int
    categorical: int

    @classmethod
    def of(cls, modality: RecordModality) -> RecordColumns:
        less = 1 if modality.drop_first else 0
        onehot = sum(len(values) - less for values in modality.categorical.values())
        return cls(len(modality.numeric), onehot, len(modality.categorical))

    @property
    def values(self) -> slice:
        return slice(0, self.numeric)

    @property
    def onehots(self) -> slice:
        return slice(self.numeric, self.numeric + self.onehot)

    @property
    def missing(self) -> slice:
        return slice(self.numeric + self.onehot, self.width)

    @property
    def width(self) -> int:
        return self.numeric + self.onehot + self.numeric + self.categorical


class RecordTokens(nn.Module):
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
