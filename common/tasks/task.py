"""What every task can say of itself: the one interface by which all others ask it.

A task is one file of this package, a schema class of study.yaml, and one line in `common/tasks/__init__.py`. Nobody
else knows of classes, of an AUC, or of how wide a head is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from common.tasks.measure import Measure
from common.tasks.part import Part

if TYPE_CHECKING:  # a connector, that only carries plans, has no PyTorch
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from common.modalities.modality import Modality
    from common.summand import Segment

    Counts = NDArray[np.float64]


class Task(Protocol):
    """What is predicted.

    measures: what models are judged by; the first one chooses the model
    target_type: numpy's name of the type of one patient's target
    most_groups: in how many of `groups` a patient is counted at most
    """

    measures: ClassVar[tuple[Measure, ...]]
    target_type: ClassVar[str]
    most_groups: ClassVar[int]

    # ------------------------------------------------------------------------------------------- a hospital's targets

    @property
    def parts(self) -> tuple[Part, ...]:
        """What a target is made of: for most tasks one column (`one_column.OneColumn`)."""

    def target_shape(self, modalities: Mapping[str, Modality]) -> tuple[int, ...]:
        """Return the shape of one patient's target, in a study of these modalities."""

    def value_of(self, part: str, word: str) -> int | float | None:
        """Return a word of a part's column, in the study's vocabulary, as its value; None where it is none.

        Not asked of a mask: its value is uint8, 1 inside and 0 outside, of the shape of the row that it is beside.
        """

    def target_of(self, values: Mapping[str, Any]) -> Any | None:
        """Return a patient's target: a number, or an array of `target_shape`. None: too little for one is known.

        values: of the parts that are known of this patient, by name
        """

    def told(self, targets: NDArray[Any]) -> NDArray[Any]:
        """Return which parts are known in these targets (B, ...), bool (B, parts)."""

    def without(self, targets: Tensor, part: str) -> Tensor:
        """Return these targets (B, ...) as if a part were known of none; asked of tasks of several parts alone. Loss
        and sums take no more from such a part than from a gap of one patient's.
        """

    @property
    def vocabulary(self) -> Sequence[str]:
        """What of the task decides who has a target, in an order that does not matter."""

    def expected_of(self, part: str) -> str:
        """Return what a word of a part's column has to be one of, as the end of a sentence."""

    def planted(self, severity: NDArray[Any]) -> Mapping[str, Sequence[str]]:
        """Return what made-up hospitals write of patients, by part that is a column, in the study's words.

        severity: of each patient, from -1 to 1, half of them below 0; what they measure there goes with it
        """

    @property
    def groups(self) -> tuple[str, ...]:
        """By what training patients are counted."""

    def counted(self, targets: NDArray[Any]) -> Counts:
        """Return how many of these targets (B, ...) are of each group, float64 (G,)."""

    def unteachable(self, counts: NDArray[Any]) -> str:
        """Return why nothing can be learned from so many training patients of each group, as "of one class, dead";
        empty where something can.
        """

    # ------------------------------------------------------------------------------------------------------ the model

    @property
    def sees(self) -> str | None:
        """The modality whose maps of features the head is given beside the fused vector; None: the vector alone."""

    def head(self, width: int, hidden: int, maps: Sequence[MapShape] = ()) -> nn.Module:
        """Return what makes outputs of the fused vector: (B, width) -> (B, outputs).

        hidden: the width of its one hidden layer; 0: none
        maps: the shapes of those of the modality that it `sees`. Its head is called with the vector and a tuple of
            them, the row itself and features that are ever coarser, (B, *shape); zeros where a patient lacks it
        """

    def loss_rows(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each row: (B, outputs), (B, ...) -> (B,)."""

    # ------------------------------------------------------------------------------------------------ sums and scores

    def segments(self, bins: int, bound: float) -> tuple[Segment, ...]:
        """Return the segments of `sums`, each bounded by the most cases that a site may have."""

    @property
    def sensitivity(self) -> float:
        """The most, in L2 norm over all segments together, that adding or removing one patient changes `sums`."""

    def sums(self, output: Tensor, target: Tensor, bins: int) -> dict[str, Counts]:
        """Return the segments for these cases, float64; B may be 0. An output that is not finite says nothing."""

    def scores(self, sums: Mapping[str, Counts], bins: int, sd: float, *, clipped: bool) -> dict[str, float]:
        """Return the measures of summed `sums`, with `cases`; nan where one is not defined.

        sd: of the noise in each entry, which may have made entries negative or unlike. clipped: counts below 0 are 0
        """

    def exact(self, output: NDArray[Any], target: NDArray[Any], seed: int) -> tuple[dict[str, float], Interval | None]:
        """Return what can be said of the leading measure from the rows themselves, where one process has them: measures
        that are more exact than those of the sums, and a 95 % interval of the first over resamples of the cases.
        """

    # ------------------------------------------------------------------------------------------------- for a person

    @property
    def described(self) -> str:
        """What the model learns, as "learns to tell apart 'alive', 'dead'"."""


Interval = tuple[float, float]
MapShape = tuple[int, int, int]  # channels, height, width
