"""Self-attention from Linear layers and torch's scaled dot product, which Opacus can look into."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017). nn.MultiheadAttention keeps its weights out of hooks' sight."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = (heads, width // heads)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, T, width) -> (B, T, width). `keep` bool (B, T): the keys that may be looked at; at least one a row."""
        query, key, value = (
            layer(tokens).unflatten(-1, self.heads).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mask = None if keep is None else keep[:, None, None, :]
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class Block(nn.Module):
    """A pre-norm transformer block (Xiong et al. 2020): attention, then a perceptron of twice the width."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.before_layers = nn.LayerNorm(width)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor, keep: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.before_attention(tokens), keep)
        result: Tensor = tokens + self.layers(self.before_layers(tokens))
        return result
