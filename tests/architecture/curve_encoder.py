"""The encoder of curves, for the copy of the product that has them."""

from __future__ import annotations

from torch import Tensor, nn

from common.layers.encoder import Encoder


class CurveTokens(Encoder):
    """(B, points) -> (B, 1, width)."""

    tokens = 1

    def __init__(self, points: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.layer = nn.Linear(points, width)

    def forward(self, curve: Tensor) -> Tensor:
        tokens: Tensor = self.layer(curve)
        return tokens.unsqueeze(1)
