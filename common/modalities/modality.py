"""What every kind of modality can say of itself: the one interface by which all others ask it.

A kind is a file of this package (its keys in study.yaml, and what follows from them) with the file of its encoder, and
one line in `common/modalities/__init__.py`. What reads it at a hospital is in `client/data`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

if TYPE_CHECKING:  # a connector, that only carries plans, has no PyTorch
    from torch import Tensor

    from common.layers.encoder import Encoder

Bounds = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class RowLayout:
    """How a patient's row of a modality is kept at a site, and what training sees of it.

    shape: of a row, in both. stored, tensor: numpy's names of their types
    whole: the stored value that is 1 in the tensor
    """

    shape: tuple[int, ...]
    stored: str
    tensor: str = "float32"
    whole: float = 1.0


class Modality(Protocol):
    """One kind of data of a patient."""

    @property
    def kind(self) -> str:
        """Its name in study.yaml."""

    @property
    def layout(self) -> RowLayout:
        """The layout of its rows."""

    @property
    def recipe(self) -> object:
        """What of the study changes its rows; its encoder does not, save for a note's tokenizer."""

    @property
    def membership(self) -> object:
        """What of the study decides which patients have it, if all read the same data."""

    @property
    def ranges(self) -> Bounds | None:
        """Low and high of each column that a secure sum normalises; None where it has none such."""

    def bounds(self) -> Iterator[tuple[str, float, float]]:
        """Yield the place in study.yaml below the modality, the low and the high of whatever has both."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        """Yield the place in study.yaml below the modality, and in words what is wrong there, of whatever the schema
        takes, for a study of before may have it, and no run can use.
        """

    def columns_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of the columns of `ranges` in these rows, (B, P), and where each has a gap, 1.0."""

    @property
    def is_linear(self) -> bool:
        """Whether its encoder, by itself, is a linear map."""

    def network(self, width: int | None, models: Path | None) -> Encoder:
        """Return its encoder: (B, *shape) -> (B, tokens, width).

        width: None for an encoder that is the row itself, where `is_linear`
        models: this site's folder of pretrained models
        """

    def without_file(self) -> Self:
        """Return it with an encoder that needs no file of a site: of the same layout, to look at what can be known."""

    @property
    def described(self) -> str:
        """What a site reads for it, to a person who approves the study."""


class Flawless:
    """Base of kinds of which the schema refuses all that no run can use."""

    def flaws(self) -> Iterator[tuple[str, str]]:
        yield from ()


class WithoutColumns(Flawless):
    """Base of kinds that have no columns of numbers: nothing of them has a range, or is summed before training."""

    ranges: ClassVar[Bounds | None] = None
    is_linear: ClassVar[bool] = False

    def bounds(self) -> Iterator[tuple[str, float, float]]:
        yield from ()

    def columns_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return no column of each row: (B, 0), twice."""
        none = rows.reshape(len(rows), -1)[:, :0]
        return none, none
