"""A task that wardround has not: two numbers of a patient, of which either may be missing. A test puts this file into a
copy of the product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from common.schema import schema
from common.tasks.measure import Measure
from common.tasks.part import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from common.modalities.modality import Modality
    from common.summand import Segment
    from common.tasks.task import Counts, Interval, MapShape

NAMES = ("first", "second")


@schema
class Pair:
    """Two numbers from 0 to `high`; what is outside counts as the end. In a target a gap is NaN."""

    kind: Literal["pair"]
    high: float

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("mean_error", "Mean error", more_is_better=False, leads=True),
        Measure("first_error", "Error of the first", more_is_better=False),
        Measure("second_error", "Error of the second", more_is_better=False),
    )
    parts: ClassVar[tuple[Part, ...]] = tuple(map(Part, NAMES))
    target_type: ClassVar[str] = "float32"
    groups: ClassVar[tuple[str, ...]] = tuple(f"with a {name}" for name in NAMES)
    most_groups: ClassVar[int] = 2
    sees: ClassVar[str | None] = None
    sensitivity: ClassVar[float] = math.sqrt(5)  # of cases, of two counts, and of two errors

    def target_shape(self, modalities: Mapping[str, Modality]) -> tuple[int, ...]:
        return (2,)

    def value_of(self, part: str, word: str) -> float | None:
        try:
            value = float(word)
        except ValueError:
            return None
        return min(max(value, 0.0), self.high) if math.isfinite(value) else None

    def target_of(self, values: Mapping[str, Any]) -> Any | None:
        import numpy as np

        return np.array([values.get(name, math.nan) for name in NAMES], dtype=self.target_type) if values else None

    def told(self, targets: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        return ~np.isnan(targets)

    def without(self, targets: Tensor, part: str) -> Tensor:
        import torch

        return torch.where(torch.tensor([name == part for name in NAMES]), math.nan, targets)

    @property
    def vocabulary(self) -> Sequence[str]:
        return [f"{self.high:g}"]

    def expected_of(self, part: str) -> str:
        return f"the numbers from 0 to {self.high:g}"

    def planted(self, severity: NDArray[Any]) -> Mapping[str, Sequence[str]]:
        share = ((severity + 1) / 2).tolist()
        return {
            name: [f"{(1 - one if place else one) * self.high:.2f}" for one in share]
            for place, name in enumerate(NAMES)
        }

    def counted(self, targets: NDArray[Any]) -> Counts:
        import numpy as np

        return self.told(targets).sum(axis=0).astype(np.float64)

    def unteachable(self, counts: NDArray[Any]) -> str:
        return "" if counts.sum() > 0 else "none with a number"

    def head(self, width: int, hidden: int, maps: Sequence[MapShape] = ()) -> nn.Module:
        from common.layers.perceptron import perceptron

        return perceptron([width, *([hidden] if hidden else []), 2])

    def loss_rows(self, output: Tensor, target: Tensor) -> Tensor:
        truth, known = self._scaled(target.to(output.dtype))
        return ((output - truth).square() * known).sum(dim=1)

    def segments(self, bins: int, bound: float) -> tuple[Segment, ...]:
        from common.summand import Segment

        lengths = {"cases": 1, "known": 2, "errors": 2}
        return tuple(Segment(f"scores/{name}", length, bound) for name, length in lengths.items())

    def sums(self, output: Tensor, target: Tensor, bins: int) -> dict[str, Counts]:
        import numpy as np
        import torch

        truth, known = self._scaled(target.detach().double().cpu())
        guess = torch.nan_to_num(output.detach().double().cpu(), nan=0.5).clamp(0.0, 1.0)
        return {
            "scores/cases": np.array([float(len(truth))]),
            "scores/known": known.sum(dim=0).numpy(),
            "scores/errors": ((guess - truth).abs() * known).sum(dim=0).numpy(),
        }

    def scores(self, sums: Mapping[str, Counts], bins: int, sd: float, *, clipped: bool) -> dict[str, float]:
        known, errors = (sums[f"scores/{name}"] for name in ("known", "errors"))
        each = [float(e / k) * self.high if k >= 0.5 else math.nan for e, k in zip(errors, known, strict=True)]
        cases = max(0.0, float(sums["scores/cases"][0]))
        noise = 1.96 * sd * math.sqrt(2) / cases if cases > 2 * sd else math.inf
        return {
            "cases": cases,
            "mean_error": float(errors.sum() / known.sum()) * self.high if known.sum() >= 0.5 else math.nan,
            "first_error": each[0],
            "second_error": each[1],
            "share_noise": noise if sd else 0.0,
        }

    def exact(self, output: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[dict[str, float], Interval | None]:
        return {}, None

    @property
    def described(self) -> str:
        return f"learns to predict two numbers from 0 to {self.high:g}"

    def _scaled(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers over `high`, 0.5 for a gap, and 1.0 where there is none."""
        known = ~target.isnan()
        return (target / self.high).where(known, target.new_tensor(0.5)), known.to(target.dtype)
