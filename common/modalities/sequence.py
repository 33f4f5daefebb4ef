"""Sequences: gene measurements of a patient, in the order of the study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from common.modalities.modality import Bounds, Flawless, RowLayout
from common.schema import schema
from common.value_types import Count, Positive

if TYPE_CHECKING:  # a connector, that only carries plans, has no PyTorch
    from torch import Tensor

    from common.layers.encoder import Encoder


@schema
class SequenceEncoder:
    """A multilayer perceptron from `genes` values to `tokens` tokens."""

    hidden: list[Count] = field(default_factory=lambda: [32])
    tokens: Count = 1


@schema
class SequenceModality(Flawless):
    """A vector of gene measurements in the order given here."""

    kind: Literal["sequence"]
    genes: list[str]
    low: float = -10.0
    high: float = 10.0
    mean: float | list[float] = 0.0
    sd: Positive | list[Positive] = 1.0
    normalise: Literal["study", "secure_sum"] = "study"
    encoder: SequenceEncoder = field(default_factory=SequenceEncoder)

    def __post_init__(self) -> None:
        if not self.genes or len(set(self.genes)) != len(self.genes):
            raise ValueError("genes must be a list of different names, at least one")
        if self.low >= self.high:
            raise ValueError("low must be below high")
        for name, value in (("mean", self.mean), ("sd", self.sd)):
            if isinstance(value, list) and len(value) != len(self.genes):
                raise ValueError(f"{name} has one number, or one for each gene")

    @property
    def layout(self) -> RowLayout:
        return RowLayout((2, len(self.genes)), "float32")

    @property
    def recipe(self) -> object:
        return ["sequence", self.genes, self.low, self.high]

    @property
    def membership(self) -> object:
        return ["sequence", sorted(self.genes)]

    @property
    def ranges(self) -> Bounds | None:
        if self.normalise != "secure_sum":
            return None
        return [self.low] * len(self.genes), [self.high] * len(self.genes)

    def bounds(self) -> Iterator[tuple[str, float, float]]:
        yield "", self.low, self.high

    def columns_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows[:, 0], rows[:, 1]

    @property
    def is_linear(self) -> bool:
        return not self.encoder.hidden and self.encoder.tokens == 1

    def network(self, width: int | None, models: Path | None) -> Encoder:
        from common.modalities.sequence_encoder import SequenceTokens

        return SequenceTokens(self, width)

    def without_file(self) -> Self:
        return self

    @property
    def described(self) -> str:
        return f"measurements of {len(self.genes)} genes"
