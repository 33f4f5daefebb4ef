"""Images: DICOM files of a patient, as slices of pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from common.modalities.modality import RowLayout, WithoutColumns
from common.schema import schema
from common.value_types import Count

if TYPE_CHECKING:  # a connector, that only carries plans, has no PyTorch
    from common.layers.encoder import Encoder


@schema
class ImageEncoder:
    """`backbone`: `small_cnn`, or any torchvision classification model by name, its BatchNorm made GroupNorm."""

    backbone: str = "resnet18"
    channels: Count = 16  # of small_cnn's first layer
    weights: str | None = None  # a local file of the backbone's state_dict, in the models folder of each site


@schema
class ImageModality(WithoutColumns):
    """DICOM images, as (slices, size, size) pixels in [0, 1], air dark (MONOCHROME1 is inverted)."""

    kind: Literal["image"]
    size: Annotated[int, Field(ge=8, le=1024)] = 224
    slices: Count = 1  # taken evenly along the patient's stack; a channel each
    intensity: Literal["percentile", "window", "range"] = "percentile"
    window: tuple[float, float] | None = None  # centre, width, in modality units (HU in CT)
    encoder: ImageEncoder = field(default_factory=ImageEncoder)

    def __post_init__(self) -> None:
        if (self.intensity == "window") != (self.window is not None):
            raise ValueError("window: [centre, width] goes with intensity: window, and only with it")

    @property
    def layout(self) -> RowLayout:
        """Kept in 8 bits, which is what a window leaves of them; of the full range of stored bits most images use a
        small part, so there half precision keeps more.
        """
        shape = (self.slices, self.size, self.size)
        return RowLayout(shape, "float16") if self.intensity == "range" else RowLayout(shape, "uint8", whole=255.0)

    @property
    def recipe(self) -> object:
        return ["image", self.size, self.slices, self.intensity, self.window]

    @property
    def membership(self) -> object:
        """How many slices of a stack are read decides which file can have text burned in."""
        return ["image", self.slices]

    def flaws(self) -> Iterator[tuple[str, str]]:
        if self.window is not None and self.window[1] <= 0:
            yield (
                ".window",
                f"the width is {self.window[1]:g}, and such a window shows nothing. Write [centre, width] with a width "
                "above 0, as [40, 400] for soft tissue in CT.",
            )

    def network(self, width: int | None, models: Path | None) -> Encoder:
        from common.modalities.image_encoder import ImageTokens

        assert width is not None
        return ImageTokens(self, width, models)

    def without_file(self) -> Self:
        return replace(self, encoder=replace(self.encoder, weights=None))

    @property
    def described(self) -> str:
        return f"DICOM images, {self.slices} of {self.size} x {self.size} pixels a patient"
