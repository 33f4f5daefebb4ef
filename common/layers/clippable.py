"""What in a network Opacus's hooks cannot serve: where there is any, gradients are clipped by a loop over patients."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def unhookable(network: nn.Module) -> list[str]:
    """Names of modules whose gradient the hooks would miss or mix; empty for all that this project builds itself.

    A trainable parameter in a module that has children is used in ways that no hook sees (torchvision's Swin and
    MaxViT); a parameter that two modules share is counted apart; BatchNorm mixes patients, in any way of clipping.
    """
    found, owners = [], set[int]()
    for name, module in network.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
        inner = own and next(module.children(), None) is not None
        shared = not owners.isdisjoint(map(id, own))
        owners.update(map(id, own))
        if inner or shared or isinstance(module, _BatchNorm | nn.MultiheadAttention):
            found.append(name or "(the network itself)")
    return found
