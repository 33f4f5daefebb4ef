"""A task that wardround has not: which pixels of an image are inside an outline. A test puts this file into a copy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from common.schema import schema
from common.tasks.measure import Measure
from common.tasks.part import Part
from common.value_types import Name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from common.modalities.modality import Modality
    from common.summand import Segment
    from common.tasks.task import Counts, Interval, MapShape


@schema
class Outline:
    """`image` is the modality beside whose images the masks are."""

    kind: Literal["outline"]
    image: Name

    measures: ClassVar[tuple[Measure, ...]] = (Measure("dice", "Dice", leads=True, most=1.0),)
    target_type: ClassVar[str] = "uint8"
    most_groups: ClassVar[int] = 1
    groups: ClassVar[tuple[str, ...]] = ("with a mask",)
    sensitivity: ClassVar[float] = math.sqrt(2)
    vocabulary: ClassVar[Sequence[str]] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        return (Part("outline", kind="mask", beside=self.image),)

    @property
    def sees(self) -> str:
        return self.image

    def target_shape(self, modalities: Mapping[str, Modality]) -> tuple[int, ...]:
        return modalities[self.image].layout.shape

    def value_of(self, part: str, word: str) -> None:
        return None

    def target_of(self, values: Mapping[str, Any]) -> Any | None:
        return values.get("outline")

    def told(self, targets: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        return np.ones((len(targets), 1), dtype=np.bool_)

    def without(self, targets: Tensor, part: str) -> Tensor:
        return targets

    def expected_of(self, part: str) -> str:
        return "images"

    def planted(self, severity: NDArray[Any]) -> Mapping[str, Sequence[str]]:
        return {}

    def counted(self, targets: NDArray[Any]) -> Counts:
        import numpy as np

        return np.array([float(len(targets))])

    def unteachable(self, counts: NDArray[Any]) -> str:
        return "" if counts.sum() > 0 else "none with a mask"

    def head(self, width: int, hidden: int, maps: Sequence[MapShape] = ()) -> nn.Module:
        import torch
        from torch import nn
        from torch.nn import functional

        (slices, height, across), (channels, _, _), *_ = maps

        class Decoder(nn.Module):
            """The first features and the image itself at full size, and the fused vector at each pixel."""

            def __init__(self) -> None:
                super().__init__()
                self.mix = nn.Conv2d(channels + slices, 8, 3, padding=1)
                self.of_all = nn.Linear(width, 8)
                self.out = nn.Conv2d(8, slices, 1)

            def forward(self, fused: Tensor, shown: tuple[Tensor, ...]) -> Tensor:
                wide = functional.interpolate(shown[1], (height, across), mode="bilinear", align_corners=False)
                mixed = self.mix(torch.cat([wide, shown[0]], dim=1)) + self.of_all(fused)[:, :, None, None]
                output: Tensor = self.out(functional.relu(mixed))
                return output

        return Decoder()

    def loss_rows(self, output: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional

        each = functional.binary_cross_entropy_with_logits(output, target.to(output.dtype), reduction="none")
        return each.flatten(1).mean(dim=1)

    def segments(self, bins: int, bound: float) -> tuple[Segment, ...]:
        from common.summand import Segment

        return tuple(Segment(f"scores/{name}", 1, bound) for name in ("cases", "dice"))

    def sums(self, output: Tensor, target: Tensor, bins: int) -> dict[str, Counts]:
        import numpy as np

        inside, truth = (output.detach() > 0).flatten(1).cpu().double(), target.flatten(1).cpu().double()
        both, either = (inside * truth).sum(dim=1), inside.sum(dim=1) + truth.sum(dim=1)
        dice = ((2 * both + 1e-9) / (either + 1e-9)).sum()
        return {"scores/cases": np.array([float(len(truth))]), "scores/dice": np.array([float(dice)])}

    def scores(self, sums: Mapping[str, Counts], bins: int, sd: float, *, clipped: bool) -> dict[str, float]:
        cases, dice = (max(0.0, float(sums[f"scores/{name}"][0])) for name in ("cases", "dice"))
        noise = 1.96 * sd * math.sqrt(2) / cases if cases > 2 * sd else math.inf
        found = min(1.0, dice / cases) if cases >= 0.5 else math.nan
        return {"cases": cases, "dice": found, "share_noise": noise if sd else 0.0}

    def exact(self, output: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[dict[str, float], Interval | None]:
        return {}, None

    @property
    def described(self) -> str:
        return f"learns which pixels of {self.image} are inside an outline"
