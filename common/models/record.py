"""Where each column of a record stands in its tensor. The data side writes this order, the encoder reads it."""

from __future__ import annotations

from dataclasses import dataclass

from common.study import RecordModality


@dataclass(frozen=True)
class RecordColumns:
    """The tensor of a record is float32 (B, width):

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
