"""Records: a row of the hospital's table, and where each column stands in its tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from common.modalities.modality import Bounds, Flawless, RowLayout
from common.schema import schema
from common.value_types import Count, Name, Positive

if TYPE_CHECKING:  # a connector, that only carries plans, has no PyTorch
    from torch import Tensor

    from common.layers.encoder import Encoder


@schema
class Numeric:
    """A number of a record. With `mean` and `sd` the study normalises; `low` and `high` clip, and bound statistics."""

    low: float
    high: float
    mean: float | None = None
    sd: Positive | None = None

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if (self.mean is None) != (self.sd is None):
            raise ValueError("give mean and sd together, or neither")


@schema
class RecordEncoder:
    """A multilayer perceptron; `hidden: []` is a linear map (with fusion `mean`: logistic regression)."""

    hidden: list[Count] = field(default_factory=lambda: [32])


@schema
class RecordModality(Flawless):
    """A row of the hospital's table. Category lists come from here, never from data."""

    kind: Literal["record"]
    numeric: dict[Name, Numeric] = field(default_factory=dict)
    categorical: dict[Name, list[str]] = field(default_factory=dict)
    missing_indicators: bool = True  # tell the encoder which values are absent
    drop_first: bool = False  # one-hot without the first category, as in classical regression
    normalise: Literal["study", "secure_sum"] = "study"
    encoder: RecordEncoder = field(default_factory=RecordEncoder)

    def __post_init__(self) -> None:
        if not self.numeric and not self.categorical:
            raise ValueError("a record has at least one numeric or categorical column")
        if set(self.numeric) & set(self.categorical):
            raise ValueError("a column is numeric or categorical, not both")

    @property
    def columns(self) -> list[str]:
        return [*self.numeric, *self.categorical]

    @property
    def layout(self) -> RowLayout:
        return RowLayout((RecordColumns.of(self).width,), "float32")

    @property
    def recipe(self) -> object:
        bounds = [(name, column.low, column.high) for name, column in self.numeric.items()]
        return ["record", bounds, list(self.categorical.items()), self.drop_first]

    @property
    def membership(self) -> object:
        """A table gives no row of a patient who has gaps only, in whatever order the columns stand. A word that is no
        category is an error, and the way out of it is to list it as a gap: so the categories decide it too.
        """
        categories = sorted((name, sorted(words)) for name, words in self.categorical.items())
        return ["record", sorted(self.numeric), categories]

    @property
    def ranges(self) -> Bounds | None:
        if self.normalise != "secure_sum" or not self.numeric:
            return None
        columns = self.numeric.values()
        return [column.low for column in columns], [column.high for column in columns]

    def bounds(self) -> Iterator[tuple[str, float, float]]:
        for name, column in self.numeric.items():
            yield f".numeric.{name}", column.low, column.high

    def columns_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        columns = RecordColumns.of(self)
        return rows[:, columns.values], rows[:, columns.missing][:, : columns.numeric]

    @property
    def is_linear(self) -> bool:
        return not self.encoder.hidden

    def network(self, width: int | None, models: Path | None) -> Encoder:
        from common.modalities.record_encoder import RecordTokens

        return RecordTokens(self, width)

    def without_file(self) -> Self:
        return self

    @property
    def described(self) -> str:
        return f"the columns {', '.join(self.columns)}"


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
