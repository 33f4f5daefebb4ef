"""A kind of modality that wardround has not: a curve of points in a public range, scaled by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from common.modalities.modality import RowLayout, WithoutColumns
from common.schema import schema
from common.value_types import Count

if TYPE_CHECKING:
    from common.layers.encoder import Encoder


@schema
class CurveModality(WithoutColumns):
    """So many points, in columns p0, p1, ..., from `low` to `high`."""

    kind: Literal["curve"]
    points: Count
    low: float
    high: float

    @property
    def layout(self) -> RowLayout:
        return RowLayout((self.points,), "uint8", whole=255.0)

    @property
    def recipe(self) -> object:
        return ["curve", self.points, self.low, self.high]

    @property
    def membership(self) -> object:
        return ["curve", self.points]

    def bounds(self) -> Iterator[tuple[str, float, float]]:
        yield "", self.low, self.high

    def network(self, width: int | None, models: Path | None) -> Encoder:
        from common.modalities.curve_encoder import CurveTokens

        assert width is not None
        return CurveTokens(self.points, width)

    def without_file(self) -> Self:
        return self

    @property
    def described(self) -> str:
        return f"a curve of {self.points} points"
