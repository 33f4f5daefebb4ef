"""Masks: what somebody drew beside a patient's images, as DICOM files of a folder; 0 is outside.

They pass the gate of images: numbers and the attributes that say how to read them, and nothing of a header.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from client.data.case import Frame
from client.data.kinds.image import ImageKind
from client.data.kinds.kind import Row
from client.data.pixels import fitted
from common.modalities.image import ImageModality
from common.modalities.modality import RowLayout


class MaskKind(ImageKind):
    """The modality is the one that the mask is beside: of its slices, in its places, and of its size."""

    section = "target"

    @classmethod
    def layout(cls, modality: ImageModality) -> RowLayout:
        return RowLayout(modality.layout.shape, "uint8", "uint8")

    @classmethod
    def recipe(cls, modality: ImageModality) -> object:
        return ["mask", modality.size, modality.slices]

    @classmethod
    def row(cls, clean: tuple[Frame, ...], modality: ImageModality, tool: Any) -> Row | None:
        """1 where at least half of a pixel is inside."""
        inside = [fitted((np.nan_to_num(frame.values) != 0).astype(np.float32), modality.size) for frame in clean]
        return (np.stack(inside) >= 0.5).astype(np.uint8)
