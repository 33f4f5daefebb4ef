"""What tasks share whose target is one number a patient, from one column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from common.tasks.part import TARGET, Part

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from common.modalities.modality import Modality


class OneColumn:
    """Base of them: a task says what a word of the column is as a number (`value_of`)."""

    parts: ClassVar[tuple[Part, ...]] = (Part(),)
    most_groups: ClassVar[int] = 1
    sees: ClassVar[str | None] = None

    def target_shape(self, modalities: Mapping[str, Modality]) -> tuple[int, ...]:
        return ()

    def target_of(self, values: Mapping[str, Any]) -> Any | None:
        return values.get(TARGET)

    def told(self, targets: NDArray[Any]) -> NDArray[Any]:
        import numpy as np

        return np.ones((len(targets), 1), dtype=np.bool_)

    def without(self, targets: Tensor, part: str) -> Tensor:
        """A patient without the only part has no target, and is in no batch."""
        return targets
