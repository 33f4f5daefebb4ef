"""A task that wardround has not: two binary ones at once, of which a hospital may lack either. A test puts this file
into a copy of the product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from common.schema import schema
from common.tasks.binary import Binary
from common.tasks.measure import Measure
from common.tasks.part import Part
from common.value_types import Name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from common.modalities.modality import Modality
    from common.summand import Segment
    from common.tasks.task import Counts, Interval, MapShape

UNKNOWN = -1


@schema
class Twofold:
    """Two tasks by name; a model has a head for each. In a target a gap is -1."""

    kind: Literal["twofold"]
    tasks: dict[Name, Binary]

    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("mean_auc", "Mean AUC", chance=0.5, leads=True, most=1.0, noise="auc_noise"),
    )
    target_type: ClassVar[str] = "int64"
    most_groups: ClassVar[int] = 2
    sees: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        if len(self.tasks) != 2:
            raise ValueError("two tasks")

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(Part(name, needed=False) for name in self.tasks)

    def target_shape(self, modalities: Mapping[str, Modality]) -> tuple[int, ...]:
        return (2,)

    def value_of(self, part: str, word: str) -> int | None:
        return self.tasks[part].value_of(part, word)

    def target_of(self, values: Mapping[str, Any]) -> Any | None:
        import numpy as np

        return np.array([values.get(name, UNKNOWN) for name in self.tasks], self.target_type) if values else None

    def told(self, targets: NDArray[Any]) -> NDArray[Any]:
        return targets != UNKNOWN

    def without(self, targets: Tensor, part: str) -> Tensor:
        import torch

        return torch.where(torch.tensor([name == part for name in self.tasks]), UNKNOWN, targets)

    @property
    def vocabulary(self) -> Sequence[str]:
        return [f"{name} {word}" for name, task in sorted(self.tasks.items()) for word in task.vocabulary]

    def expected_of(self, part: str) -> str:
        return self.tasks[part].expected_of(part)

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(f"{name}: {group}" for name, task in self.tasks.items() for group in task.groups)

    def planted(self, severity: NDArray[Any]) -> Mapping[str, Sequence[str]]:
        each = (task.planted(severity if place else -severity) for place, task in enumerate(self.tasks.values()))
        return {name: own["target"] for name, own in zip(self.tasks, each, strict=True)}

    def counted(self, targets: NDArray[Any]) -> Counts:
        import numpy as np

        each = (targets[self.told(targets)[:, place], place] for place in range(2))
        return np.concatenate([task.counted(own) for task, own in zip(self.tasks.values(), each, strict=True)])

    def unteachable(self, counts: NDArray[Any]) -> str:
        each = [task.unteachable(own) for task, own in zip(self.tasks.values(), (counts[:2], counts[2:]), strict=True)]
        return each[0] if all(each) else ""

    def head(self, width: int, hidden: int, maps: Sequence[MapShape] = ()) -> nn.Module:
        from common.layers.perceptron import perceptron

        return perceptron([width, *([hidden] if hidden else []), 2])

    def loss_rows(self, output: Tensor, target: Tensor) -> Tensor:
        known = target != UNKNOWN
        each = [
            task.loss_rows(output[:, [place]], target[:, place].clamp(min=0))
            for place, task in enumerate(self.tasks.values())
        ]
        return sum((one * known[:, place] for place, one in enumerate(each)), output.new_zeros(len(output)))

    def segments(self, bins: int, bound: float) -> tuple[Segment, ...]:
        from dataclasses import replace

        own = [(place, one) for place, task in enumerate(self.tasks.values()) for one in task.segments(bins, bound)]
        return tuple(replace(one, name=f"{one.name}/{place}") for place, one in own)

    @property
    def sensitivity(self) -> float:
        return math.sqrt(sum(task.sensitivity**2 for task in self.tasks.values()))

    def sums(self, output: Tensor, target: Tensor, bins: int) -> dict[str, Counts]:
        found: dict[str, Counts] = {}
        for place, task in enumerate(self.tasks.values()):
            known = target[:, place] != UNKNOWN
            own = task.sums(output[known][:, [place]], target[known, place], bins)
            found |= {f"{name}/{place}": value for name, value in own.items()}
        return found

    def scores(self, sums: Mapping[str, Counts], bins: int, sd: float, *, clipped: bool) -> dict[str, float]:
        each = []
        for place, task in enumerate(self.tasks.values()):
            own = {name.removesuffix(f"/{place}"): one for name, one in sums.items() if name.endswith(f"/{place}")}
            each.append(task.scores(own, bins, sd, clipped=clipped))
        defined = [one["auc"] for one in each if not math.isnan(one["auc"])]
        named = {f"auc_{name}": one["auc"] for name, one in zip(self.tasks, each, strict=True)}
        return named | {
            "cases": max(one["cases"] for one in each),
            "mean_auc": sum(defined) / len(defined) if defined else math.nan,
            "auc_noise": max(one["auc_noise"] for one in each),
            "share_noise": max(one["share_noise"] for one in each),
        }

    def exact(self, output: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[dict[str, float], Interval | None]:
        return {}, None

    @property
    def described(self) -> str:
        return "learns " + " and ".join(f"of {name}: {task.described}" for name, task in self.tasks.items())
