"""Who may stand beside a patient in a call, and weights that would make the most of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from common.models.batch import Batch
from common.study import Study
from tests.support.tiny import cases_of

Change = Callable[[Tensor], Tensor]


def weigh(network: nn.Module, kind: str, seed: int) -> None:
    """Weights up to 10,000, beyond which a site refuses them: as after some training, large, huge, tiny, of all
    magnitudes at once, a hair beside 1, and such that add up exactly in one order and not in another."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(WEIGHTS[kind](parameter, torch.randn(parameter.shape, generator=random), random))


def _scaled(_: Tensor, normal: Tensor, random: torch.Generator) -> Tensor:
    return normal * 2.0 ** torch.randint(-13, 12, normal.shape, generator=random)


def _cancelling(_: Tensor, normal: Tensor, random: torch.Generator) -> Tensor:
    """Half of the numbers 4,096, half of them -4,096, and beside each a little that rounds away or does not."""
    signs = torch.ones(normal.numel())
    signs[torch.randperm(normal.numel(), generator=random)[: normal.numel() // 2]] = -1
    return 4096.0 * signs.view_as(normal) + torch.rand(normal.shape, generator=random) / 16


WEIGHTS: dict[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "honest": lambda own, normal, _: own + 0.1 * normal,
    "large": lambda own, normal, _: 8 * normal,
    "huge": lambda own, normal, _: 1e4 * normal.sign(),
    "all magnitudes": _scaled,
    "beside one": lambda own, normal, _: 1 + 2.0**-23 * normal.round(),
    "cancelling": _cancelling,
    "tiny": lambda own, normal, _: 1e-30 * normal,
}


def others(study: Study, count: int, kind: str, seed: int) -> Batch:
    """`count` patients who are as unlike each other's kinds as a cohort can be."""
    return NEIGHBOURS[kind](study, cases_of(study, count, seed=seed, missing=0.3))


def _all(study: Study, batch: Batch, change: Change, present: bool = True) -> Batch:
    inputs = {name: change(value) for name, value in batch.inputs.items()}
    return Batch(inputs, torch.full_like(batch.present, present), batch.target)


def _huge(value: Tensor) -> Tensor:
    return value.fill_(3e38) if value.is_floating_point() else value


def _no_number(value: Tensor) -> Tensor:
    return value.fill_(float("nan")) if value.is_floating_point() else value


def _full(value: Tensor) -> Tensor:
    """Notes without any padding, images of one white, records and genes with nothing missing."""
    return torch.ones_like(value) if value.is_floating_point() else value.clamp(min=1)


NEIGHBOURS: dict[str, Callable[[Study, Batch], Batch]] = {
    "patients": lambda study, batch: batch,
    "absent": lambda study, batch: _all(study, batch, torch.zeros_like, present=False),
    "empty": lambda study, batch: _all(study, batch, torch.zeros_like),
    "full": lambda study, batch: _all(study, batch, _full),
    "huge": lambda study, batch: _all(study, batch, _huge),
    "no numbers": lambda study, batch: _all(study, batch, _no_number),
}
