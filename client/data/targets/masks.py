"""Masks: what somebody drew beside a patient's images, as DICOM files of a folder; 0 is outside.

They pass the gate of images: numbers and the attributes that say how to read them, and nothing of a header.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from client.data.case import Frame, Identifier, RawImage
from client.data.kinds.image import ImageKind
from client.data.kinds.kind import Row
from client.data.pixels import fitted
from common.modalities.image import ImageModality
from common.modalities.modality import RowLayout

RESCALED = "masks refused for RescaleIntercept or a Modality LUT: their 0 is no 0"


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
    def gate(
        cls, raw: RawImage, modality: ImageModality, key: str, known: Collection[Identifier], counts: Counter[str]
    ) -> tuple[Frame, ...] | None:
        """As of an image; and none of a mask whose stored 0 its header makes another number of: then nobody knows what
        is outside.
        """
        if isinstance(raw, RawImage) and any(map(_rescaled, raw.headers)):
            counts[f"{key}: {RESCALED}"] += 1
            return None
        return super().gate(raw, modality, key, known, counts)

    @classmethod
    def row(cls, clean: tuple[Frame, ...], modality: ImageModality, tool: Any) -> Row | None:
        """1 where at least half of a pixel is inside. What pads a mask is outside."""
        inside = [fitted(_inside(frame), modality.size) for frame in clean]
        return (np.stack(inside) >= 0.5).astype(np.uint8)


def _inside(frame: Frame) -> NDArray[np.float32]:
    inside = np.nan_to_num(frame.values) != 0
    if frame.padded is not None:
        inside = inside & ~frame.padded
    return np.asarray(inside, np.float32)


def _rescaled(header: Dataset) -> bool:
    """Whether stored values are made others (PS3.3 C.11.1); a slope alone leaves 0 what it is."""
    intercept = header.get("RescaleIntercept") or 0.0
    return "ModalityLUTSequence" in header or float(intercept) != 0.0
