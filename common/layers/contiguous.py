"""Keep Opacus's convolutions right whatever way an image lies in memory."""

from __future__ import annotations

from torch import Tensor, nn


def give_convolutions_contiguous_input(network: nn.Module) -> None:
    """Let every Conv2d see its input row by row.

    Opacus 1.6 cuts a convolution's input into patches by strides that hold only for contiguous memory. Elsewhere its
    gradients are silently wrong: behind ConvNeXt's permutes, and in any network whose first image came channels-last,
    since torch's convolutions keep that layout from layer to layer.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(_contiguous)


def _contiguous(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in inputs)
