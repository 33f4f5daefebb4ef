"""What tasks of classes share. Loaded without numpy or PyTorch; what needs them is in `class_scores`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from common.tasks.measure import Measure
from common.tasks.one_column import OneColumn
from common.tasks.part import TARGET

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from common.summand import Segment
    from common.tasks.task import Counts, Interval, MapShape

LOG_LOSS_CAP = 10.0  # nats; public, so that one case's share is bounded
# The calibration error is a sum of distances over ten bins, and noise only ever adds to a distance: 8 standard
# deviations of an entry in the mean, of all ten, and up to 12 with a certainty of 95 %. `share_noise` is 2.8 of them.
_BINS = 5.0


class OfClasses(OneColumn):
    """Base of tasks whose target is one of `classes`."""

    classes: list[str]
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("auc", "AUC", chance=0.5, leads=True, most=1.0, noise="auc_noise"),
        Measure("accuracy", "Accuracy", leads=True, most=1.0),
        Measure("log_loss", "Log loss", more_is_better=False, times=LOG_LOSS_CAP, unit=LOG_LOSS_CAP),
        Measure("brier", "Brier score", "Brier", more_is_better=False),
        Measure("calibration_error", "Calibration error", "Calibr.", more_is_better=False, most=1.0, times=_BINS),
    )
    target_type: ClassVar[str] = "int64"

    @property
    def outputs(self) -> int:
        """The width of the head: the number of scores of a case."""
        raise NotImplementedError

    def require_different(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes must differ from each other")

    def value_of(self, part: str, word: str) -> int | None:
        return self.classes.index(word) if word in self.classes else None

    @property
    def vocabulary(self) -> Sequence[str]:
        return sorted(self.classes)

    def expected_of(self, part: str) -> str:
        return f"the study's classes {self.classes}"

    def planted(self, severity: NDArray[Any]) -> Mapping[str, Sequence[str]]:
        """The classes in their order, each for as large a part of the severities."""
        count = len(self.classes)
        places = (min(count - 1, int((one + 1) / 2 * count)) for one in severity.tolist())
        return {TARGET: [self.classes[place] for place in places]}

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(self.classes)

    def counted(self, targets: NDArray[Any]) -> Counts:
        from common.tasks.class_scores import counts_of

        return counts_of(targets, len(self.classes))

    def unteachable(self, counts: NDArray[Any]) -> str:
        there = [name for name, count in zip(self.classes, counts, strict=True) if count]
        return f"of one class, {there[0]}" if len(there) == 1 else ""

    def head(self, width: int, hidden: int, maps: Sequence[MapShape] = ()) -> nn.Module:
        from common.tasks.class_scores import head

        return head(width, hidden, self.outputs)

    def loss_rows(self, output: Tensor, target: Tensor) -> Tensor:
        from common.tasks.class_scores import loss_rows

        return loss_rows(output, target)

    def segments(self, bins: int, bound: float) -> tuple[Segment, ...]:
        """See `class_scores`."""
        from common.summand import Segment

        histogram = Segment("scores/histogram", self.outputs * 2 * bins, bound)
        return (histogram, *(Segment(f"scores/{name}", 1, bound) for name in ("cases", "correct", "log_loss", "brier")))

    @property
    def sensitivity(self) -> float:
        """One case puts 1 into one bin of each of the S histograms, 1 into `cases`, and at most 1 into each of
        `correct`, `log_loss` and `brier`: sqrt(S + 4). That is 2.24 for a binary task.
        """
        return math.sqrt(self.outputs + 4)

    def sums(self, output: Tensor, target: Tensor, bins: int) -> dict[str, Counts]:
        from common.tasks.class_scores import score_sums

        return score_sums(output, target, len(self.classes), bins)

    def scores(self, sums: Mapping[str, Counts], bins: int, sd: float, *, clipped: bool) -> dict[str, float]:
        from common.tasks.class_scores import scores_of

        return scores_of(sums, self.outputs, bins, sd, clipped=clipped)

    def exact(self, output: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[dict[str, float], Interval | None]:
        return {}, None

    @property
    def described(self) -> str:
        return f"learns to tell apart {', '.join(map(repr, self.classes))}"
