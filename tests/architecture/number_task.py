"""A task that wardround has not: one number in a public range. A test puts this file into a copy of the product."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from common.schema import schema
from common.tasks.measure import Measure
from common.tasks.one_column import OneColumn
from common.tasks.part import TARGET

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from common.summand import Segment
    from common.tasks.task import Counts, Interval, MapShape


@schema
class Number(OneColumn):
    """A number from `low` to `high`; what is outside counts as the end."""

    kind: Literal["number"]
    low: float
    high: float

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("explained", "Explained variance", "Explained", chance=0.0, leads=True, most=1.0),
        Measure("mean_error", "Mean error", more_is_better=False),
    )
    target_type: ClassVar[str] = "float32"
    groups: ClassVar[tuple[str, ...]] = ("with a number",)
    sensitivity: ClassVar[float] = math.sqrt(5)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError("low must be below high")

    def value_of(self, part: str, word: str) -> float | None:
        try:
            value = float(word)
        except ValueError:
            return None
        return min(max(value, self.low), self.high) if math.isfinite(value) else None

    @property
    def vocabulary(self) -> Sequence[str]:
        return [f"{self.low:g}", f"{self.high:g}"]

    def expected_of(self, part: str) -> str:
        return f"the numbers from {self.low:g} to {self.high:g}"

    def planted(self, severity: NDArray[Any]) -> Mapping[str, Sequence[str]]:
        share = (severity + 1) / 2
        return {TARGET: [f"{self.low + one * (self.high - self.low):.2f}" for one in share.tolist()]}

    def counted(self, targets: NDArray[Any]) -> Counts:
        import numpy as np

        return np.array([float(len(targets))])

    def unteachable(self, counts: NDArray[Any]) -> str:
        return "" if counts.sum() > 0 else "none with a number"

    def head(self, width: int, hidden: int, maps: Sequence[MapShape] = ()) -> nn.Module:
        from common.layers.perceptron import perceptron

        return perceptron([width, *([hidden] if hidden else []), 1])

    def loss_rows(self, output: Tensor, target: Tensor) -> Tensor:
        return (output.squeeze(1) - self._scaled(target).to(output.dtype)).square()

    def segments(self, bins: int, bound: float) -> tuple[Segment, ...]:
        from common.summand import Segment

        lengths = {"cases": 1, "squares": 1, "errors": 1, "moments": 2}
        return tuple(Segment(f"scores/{name}", length, bound) for name, length in lengths.items())

    def sums(self, output: Tensor, target: Tensor, bins: int) -> dict[str, Counts]:
        import numpy as np
        import torch

        truth = self._scaled(target.detach().double().cpu())
        guess = torch.nan_to_num(output.detach().double().cpu().squeeze(1), nan=0.5).clamp(0.0, 1.0)
        errors = (guess - truth).abs()
        return {
            "scores/cases": np.array([float(len(truth))]),
            "scores/squares": np.array([float(errors.square().sum())]),
            "scores/errors": np.array([float(errors.sum())]),
            "scores/moments": np.array([float(truth.sum()), float(truth.square().sum())]),
        }

    def scores(self, sums: Mapping[str, Counts], bins: int, sd: float, *, clipped: bool) -> dict[str, float]:
        cases, squares, errors = (max(0.0, float(sums[f"scores/{name}"][0])) for name in ("cases", "squares", "errors"))
        if cases < 0.5:
            return {"cases": cases, "explained": math.nan, "mean_error": math.nan, "share_noise": 0.0}
        first, second = map(float, sums["scores/moments"])
        spread = second - first**2 / cases
        noise = 1.96 * sd * math.sqrt(2) / cases if cases > 2 * sd else math.inf
        return {
            "cases": cases,
            "explained": 1.0 - squares / spread if spread > 0 else math.nan,
            "mean_error": errors / cases * (self.high - self.low),
            "share_noise": noise if sd else 0.0,
        }

    def exact(self, output: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[dict[str, float], Interval | None]:
        return {}, None

    @property
    def described(self) -> str:
        return f"learns to predict a number from {self.low:g} to {self.high:g}"

    def _scaled(self, target: Tensor) -> Tensor:
        return (target - self.low) / (self.high - self.low)
