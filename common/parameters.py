"""Parameters: a network's trainable numbers as one flat vector in a fixed order, in groups."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.errors import RunError
from common.models.network import MultimodalNetwork
from common.study import SHARED


@dataclass(frozen=True)
class Parameters:
    """What stands where in the vector. Only trainable parameters: neither frozen ones nor buffers.

    groups: `shared` first, then the modalities in the study's order; each is contiguous, and may be empty
    names, shapes, group: of each tensor, in the order of the vector
    pretrained: modality -> digest of the model that its encoder was loaded from, frozen weights among it
    """

    groups: tuple[str, ...]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    group: tuple[str, ...]
    pretrained: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, network: MultimodalNetwork) -> Parameters:
        tensors = _ordered(network)
        return cls(
            groups=(SHARED, *network.names),
            names=tuple(name for name, _ in tensors),
            shapes=tuple(tuple(tensor.shape) for _, tensor in tensors),
            group=tuple(_group(name) for name, _ in tensors),
            pretrained=tuple(
                (name, str(found))
                for name, encoder in network.encoders.items()
                if (found := getattr(encoder, "pretrained", ""))
            ),
        )

    @property
    def length(self) -> int:
        return sum(map(math.prod, self.shapes))

    def slice(self, group: str) -> slice:
        """Where a group stands in the vector; RunError for a group that the network does not have."""
        if group not in self.groups:
            raise RunError(f"The network has no group of parameters {group}; it has {', '.join(self.groups)}.")
        before = self.groups[: self.groups.index(group)]
        start = sum(self._size(other) for other in before)
        return slice(start, start + self._size(group))

    @property
    def shape_digest(self) -> str:
        """SHA-256 in hex of names, shapes and groups: two networks with one digest exchange vectors."""
        rows = [list(self.groups), *map(list, zip(self.names, self.shapes, self.group, strict=True))]
        return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()

    def _size(self, group: str) -> int:
        return sum(math.prod(shape) for shape, own in zip(self.shapes, self.group, strict=True) if own == group)


def flatten(network: MultimodalNetwork) -> NDArray[np.float32]:
    """All trainable parameters as float32 (length,), in the order of `Parameters.of(network)`; a copy."""
    parts = [tensor.detach().reshape(-1).float().cpu().numpy() for _, tensor in _ordered(network)]
    return np.concatenate([np.zeros(0, dtype=np.float32), *parts])


def load(network: MultimodalNetwork, vector: NDArray[np.float32]) -> None:
    """The reverse of `flatten`. RunError for a vector of another length or with numbers that are not finite."""
    tensors = _ordered(network)
    length = sum(tensor.numel() for _, tensor in tensors)
    if vector.shape != (length,):
        raise RunError(f"A vector of {vector.size} numbers, and the study's network has {length} parameters.")
    if not np.isfinite(vector).all():
        raise RunError(f"{int((~np.isfinite(vector)).sum())} of the {length} parameters are not finite numbers.")
    numbers = torch.from_numpy(np.array(vector, dtype=np.float32))
    with torch.no_grad():
        start = 0
        for _, tensor in tensors:
            tensor.copy_(numbers[start : start + tensor.numel()].view(tensor.shape))
            start += tensor.numel()


def _ordered(network: MultimodalNetwork) -> list[tuple[str, nn.Parameter]]:
    order = {group: place for place, group in enumerate((SHARED, *network.names))}
    trainable = [(name, tensor) for name, tensor in network.named_parameters() if tensor.requires_grad]
    return sorted(trainable, key=lambda item: order[_group(item[0])])


def _group(name: str) -> str:
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "encoders" else SHARED
