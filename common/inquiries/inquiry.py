"""What every inquiry can say of itself: a series of sums that a study asks for after its training.

An inquiry is one file of this package, a schema class of study.yaml, and one line in `common/inquiries/__init__.py`;
at the site it is one file and one line in `client/round/answers/`. Each of its sums may be built on those that were
opened before it. Those come in the plan, from the coordinator: a site takes no iterate from it, but computes each
itself from these sums, by the inquiry's own rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

if TYPE_CHECKING:  # a report, that shows what was found, needs no NumPy
    import numpy as np
    from numpy.typing import NDArray

    from common.modalities import Modality
    from common.noise import Noise
    from common.summand import Segment

    Vector = NDArray[np.float64]
    Opened = Sequence[Mapping[str, Vector]]  # of the sums so far, in their order: segment -> its sum over all sites


CohortPart = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Finding:
    """One line of a result. counts: whether it is a number of patients, of which a report shows no small one."""

    name: str
    value: float
    counts: bool = False


class Inquiry(Protocol):
    """One inquiry of a study.

    parts: of the cohort, whose patients it is about; each of them is charged, as one account of their own
    accountants: by which its price is proven: a study with another one is refused
    noise_multiplier: its price: a sum releases of each patient what Gaussian noise of this standard deviation over the
        L2 sensitivity does, or less
    """

    parts: ClassVar[tuple[CohortPart, ...]]
    accountants: ClassVar[tuple[str, ...]]

    @property
    def noise_multiplier(self) -> float: ...

    @property
    def kind(self) -> str:
        """As study.yaml names it, and what a site's answer is found by."""

    @property
    def sums(self) -> int:
        """How many sums it asks for."""

    def problem(self, modalities: Mapping[str, Modality]) -> str:
        """Return why it cannot be asked in a study of these modalities, as the end of a sentence; else nothing."""

    def segments(self, modalities: Mapping[str, Modality], bound: float) -> tuple[Segment, ...]:
        """Return the segments of each of its sums, without noise. bound: the most cases that a site may have"""

    def noise(self, modalities: Mapping[str, Modality]) -> Noise:
        """Return what a private site adds to every entry of a sum."""

    def found(self, opened: Opened) -> tuple[Finding, ...]:
        """Return the result of all of its sums, for the report."""

    @property
    def described(self) -> str:
        """What it asks, for the person who approves the study, as "finds the median of the column 'age'"."""


def opened_of(arrays: Mapping[str, Vector], name: str) -> Opened:
    """Return the opened sums of the inquiry of this name among arrays by `opened_key`, in their order."""
    found: dict[int, dict[str, Vector]] = {}
    for key, value in arrays.items():
        inquiry, _, rest = key.partition("/")
        number, _, segment = rest.partition("/")
        if inquiry == name:
            found.setdefault(int(number), {})[segment] = value
    return [found[number] for number in sorted(found)]


def opened_key(name: str, number: int, segment: str) -> str:
    """Return under which key a plan and a run keep an opened sum: the inquiry, which of its sums, from 1, segment."""
    return f"{name}/{number}/{segment}"
