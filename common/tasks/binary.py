"""A binary task: one of two classes, the second of which is the positive one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from common.schema import schema
from common.tasks.classes import OfClasses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from common.tasks.task import Interval


@schema
class Binary(OfClasses):
    """`classes` is the closed list of labels: [negative, positive]."""

    kind: Literal["binary"]
    classes: list[str]

    def __post_init__(self) -> None:
        self.require_different()
        if len(self.classes) != 2:
            raise ValueError("a binary task has exactly two classes: [negative, positive]")

    @property
    def outputs(self) -> int:
        return 1

    def exact(self, output: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[dict[str, float], Interval | None]:
        """The AUC by ranks, from (B, 1) outputs and (B,) targets."""
        from common.tasks.ranks import area, interval

        scores = output.reshape(-1)
        return {"auc": area(scores, target)}, interval(scores, target, seed)
