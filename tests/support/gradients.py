"""Each row's gradient, by plain autograd and by Opacus's hooks: what clipping rests on."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

Loss = Callable[[nn.Module, slice], Tensor]  # the summed loss of these rows


def shake(network: nn.Module, seed: int = 1) -> nn.Module:
    """Move every trainable parameter a little: initial zeros would hide gradients behind them."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=random))
    return network


def by_autograd(network: nn.Module, loss: Loss, rows: int) -> list[Tensor]:
    """One tensor (rows, *shape) for each trainable parameter, each row by itself."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    found = [
        torch.autograd.grad(loss(network, slice(row, row + 1)), parameters, allow_unused=True) for row in range(rows)
    ]
    return [
        torch.stack([torch.zeros_like(p) if one is None else one for one in column])
        for p, column in zip(parameters, zip(*found, strict=True), strict=True)
    ]


def by_hooks(network: nn.Module, loss: Loss, rows: int) -> list[Tensor]:
    """The same from Opacus, all rows at once. Fails for a parameter that the hooks did not see."""
    from opacus.grad_sample import GradSampleModule

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks that inputs need no gradient
        hooked = GradSampleModule(network, loss_reduction="sum")
        torch.autograd.backward(loss(hooked, slice(0, rows)))
    gradients = [
        parameter.grad_sample.detach().clone() for parameter in network.parameters() if parameter.requires_grad
    ]
    hooked.to_standard_module()
    return gradients


def difference(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest relative error of a row's whole gradient."""
    rows = len(one[0])
    apart = torch.stack([(a - b).reshape(rows, -1).norm(dim=1) for a, b in zip(one, other, strict=True)]).norm(dim=0)
    size = torch.stack([a.reshape(rows, -1).norm(dim=1) for a in one]).norm(dim=0)
    assert (size > 0).all(), "a row without any gradient would prove nothing"
    return float((apart / size).max())
