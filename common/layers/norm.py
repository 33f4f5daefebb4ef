"""GroupNorm in place of BatchNorm: statistics of one patient's image, never of a batch of patients."""

from __future__ import annotations

import torch
from torch import nn

_MOST_GROUPS = 32  # Wu & He 2018
_LEAST_CHANNELS = 4  # a group of one channel at one pixel would have no variance: its output would be constant


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with as many groups as divide `channels`: at most 32, of at least 4 channels each where there are 4."""
    most = max(1, min(_MOST_GROUPS, channels // _LEAST_CHANNELS))
    groups = next(groups for groups in range(most, 0, -1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)


def replace_batch_norm(network: nn.Module) -> None:
    """Replace every BatchNorm2d by a GroupNorm that keeps its scale and shift; its running statistics are dropped."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _from_batch_norm(child))


def _from_batch_norm(batch_norm: nn.BatchNorm2d) -> nn.GroupNorm:
    norm = group_norm(batch_norm.num_features)
    norm.eps = batch_norm.eps
    with torch.no_grad():
        norm.weight.copy_(batch_norm.weight)
        norm.bias.copy_(batch_norm.bias)
    return norm
