"""A multiclass task: one of three classes or more, each held against the rest where it is scored."""

from __future__ import annotations

from typing import Literal

from common.schema import schema
from common.tasks.classes import OfClasses


@schema
class Multiclass(OfClasses):
    """`classes` is the closed list of labels."""

    kind: Literal["multiclass"]
    classes: list[str]

    def __post_init__(self) -> None:
        self.require_different()
        if len(self.classes) < 3:
            raise ValueError("a multiclass task has three classes or more; for two, use kind: binary")

    @property
    def outputs(self) -> int:
        return len(self.classes)
