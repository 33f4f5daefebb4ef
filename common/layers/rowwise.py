"""What torchvision's transformers do in ways that hide one patient's gradient from Opacus, done in open ways.

Two constructions: a bare nn.Parameter that is broadcast over the batch (ViT's class token and positions, ConvNeXt's
layer scale), and nn.MultiheadAttention, whose weights are used outside of any module that could carry a hook.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from common.layers.attention import SelfAttention

_BARE = ("class_token", "pos_embedding", "layer_scale")


class RowwiseParameter(nn.Module):
    """A parameter, looked up once for each row. It answers the operators that torchvision uses on the bare one."""

    def __init__(self, bare: nn.Parameter) -> None:
        super().__init__()
        self.shape = bare.shape[1:] if bare.shape[0] == 1 else bare.shape
        self.table = nn.Embedding(1, bare.numel(), _weight=bare.detach().clone().view(1, -1))

    def forward(self, rows: int) -> Tensor:
        """(rows, *shape). The hook that matters is the embedding's."""
        ids = torch.zeros(rows, 1, dtype=torch.long, device=self.table.weight.device)
        vectors: Tensor = self.table(ids)
        return vectors.reshape(rows, *self.shape)

    def expand(self, rows: int, *_: int) -> Tensor:
        return self.forward(rows)

    def __radd__(self, other: Tensor) -> Tensor:
        return other + self.forward(len(other))

    def __mul__(self, other: Tensor) -> Tensor:
        return self.forward(len(other)) * other


class VisionAttention(nn.Module):
    """SelfAttention, with the call and the result of nn.MultiheadAttention as ViT's blocks use it."""

    def __init__(self, bundled: nn.MultiheadAttention) -> None:
        super().__init__()
        self.attention = SelfAttention(bundled.embed_dim, bundled.num_heads)
        parts = (self.attention.query, self.attention.key, self.attention.value)
        with torch.no_grad():
            for index, part in enumerate(parts):
                part.weight.copy_(bundled.in_proj_weight.chunk(3)[index])
                part.bias.copy_(bundled.in_proj_bias.chunk(3)[index])
            self.attention.out.weight.copy_(bundled.out_proj.weight)
            self.attention.out.bias.copy_(bundled.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *, need_weights: bool) -> tuple[Tensor, None]:
        return self.attention(query), None


def open_transformers(network: nn.Module) -> None:
    """Replace both constructions, wherever they are in `network`, keeping the weights."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(module, name, VisionAttention(child))
        for name, bare in list(module.named_parameters(recurse=False)):
            if name in _BARE:
                delattr(module, name)
                setattr(module, name, RowwiseParameter(bare))
