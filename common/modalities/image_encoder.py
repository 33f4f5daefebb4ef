"""The encoder of images: a small convolutional network made here, or a torchvision backbone by name."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from common.layers.contiguous import give_convolutions_contiguous_input
from common.layers.encoder import Encoder
from common.layers.norm import group_norm
from common.modalities.image import ImageModality

# Mean and sd of a pixel over ImageNet's three channels: what pretrained backbones expect, and as good as any else.
CENTRE, SCALE = 0.449, 0.226
STAGES = 3  # of small_cnn


class ImageTokens(Encoder):
    """(B, slices, size, size) pixels in [0, 1] -> (B, tokens, width). Slices are channels.

    `small_cnn` gives four tokens, one for each quarter of the image, and maps; a torchvision backbone gives one.
    """

    def __init__(self, modality: ImageModality, width: int, models: Path | None = None) -> None:
        super().__init__()
        self.width = width
        if modality.encoder.backbone == "small_cnn":
            self.backbone, features = small_cnn(modality.slices, modality.encoder.channels)
            self.tokens = 4
            self.map_shapes = _map_shapes(modality)
        else:
            from common.modalities.backbone import torchvision_backbone

            self.backbone, features = torchvision_backbone(modality, models)
            self.tokens = 1
        give_convolutions_contiguous_input(self.backbone)
        self.project = nn.Linear(features, width)

    def forward(self, images: Tensor) -> Tensor:
        return self._tokens(self.backbone((images - CENTRE) / SCALE))

    def with_maps(self, rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Of `small_cnn`: the scaled image, and what each of its stages makes of it."""
        assert isinstance(self.backbone, nn.Sequential)
        features = (rows - CENTRE) / SCALE
        maps = [features]
        for layer in self.backbone:
            features = layer(features)
            maps += [features] if isinstance(layer, nn.ReLU) else []
        return self._tokens(features), tuple(maps)

    def _tokens(self, features: Tensor) -> Tensor:
        tokens: Tensor = self.project(features.flatten(2).transpose(1, 2))
        return tokens


def _map_shapes(modality: ImageModality) -> tuple[tuple[int, int, int], ...]:
    size, shapes = modality.size, [(modality.slices, modality.size, modality.size)]
    for stage in range(STAGES):
        size = (size + 1) // 2
        shapes.append((2**stage * modality.encoder.channels, size, size))
    return tuple(shapes)


def small_cnn(slices: int, channels: int) -> tuple[nn.Module, int]:
    """Three stages that halve the image and widen it, then the mean of each quarter: (B, 4 * channels, 2, 2)."""
    widths = [slices, *(2**stage * channels for stage in range(STAGES))]
    stages: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        stages += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), group_norm(outputs), nn.ReLU()]
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(2)), widths[-1]
