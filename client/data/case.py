"""A case on its two sides of the gate: as the hospital's files tell it, and as training may see it.

Neither prints what it holds: `repr` counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

Kind = Literal["NAME", "DATE", "ID", "EMAIL", "PLACE"]
Gaps = NDArray[np.float64]  # numbers, NaN where missing


@dataclass(frozen=True, repr=False)
class Identifier:
    """Something that tells who the patient is, as it stands in a file."""

    kind: Kind
    text: str


@dataclass(frozen=True, repr=False)
class Frame:
    """One image: numbers, and the technical attributes that say how to read them. This much passes the gate.

    values: float32 (rows, columns), after the Modality LUT (PS3.3 C.11.1): HU in CT; luminance of colour images
    padded: bool (rows, columns), true where PixelPaddingValue fills up the image; None where nothing does
    low, high: the values that the stored bits can express
    inverted: MONOCHROME1, the lowest value is the brightest
    """

    values: NDArray[np.float32]
    padded: NDArray[np.bool_] | None
    low: float
    high: float
    inverted: bool


@dataclass(frozen=True, repr=False)
class RawImage:
    """Frames of one series in their order in space, with whatever the files' headers say."""

    frames: tuple[Frame, ...]
    headers: tuple[Dataset, ...]


@dataclass(frozen=True, repr=False)
class RecordValues:
    """The study's columns of one row: numbers (NaN: missing) and indices of categories (-1: missing)."""

    numeric: Gaps
    categorical: NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class RawCase:
    """One patient's modalities, and all that is known of who that is. It never passes the gate.

    parts: modality -> what its kind of data reads (`client.data.kinds`)
    """

    patient: str
    identifiers: frozenset[Identifier]
    parts: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"RawCase({len(self.parts)} modalities)"


@dataclass(frozen=True, repr=False)
class DeidentifiedCase:
    """One patient's modalities under a pseudonym. `counts` says what the gate took out, by kind.

    parts: modality -> what of it passed the gate
    """

    pseudonym: str
    parts: Mapping[str, object]
    counts: Counter[str]

    def __repr__(self) -> str:
        return f"DeidentifiedCase({len(self.parts)} modalities)"
