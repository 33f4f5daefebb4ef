"""Networks whose weights a hostile coordinator made: an exact sum in one kernel, a rounded one in another.

A layer's constant input is added up to 0 by a kernel that serves few rows and to something else by the one that serves
more, and the layers after it make that a switch of everybody's gradient, or of everybody's score. How many rows each
kernel serves is the machine's: it is looked for here, as an attacker would who knows the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import linear

from common.models.batch import Batch
from common.models.network import MultimodalNetwork, build_network
from common.study import Study
from tests.support.tiny import MODALITIES, study_of

HIDDEN = 64
LARGEST = 4096.0  # of the crafted weights: well within what a site accepts


def switching_study(**sections: object) -> Study:
    """A study of gene vectors with about 5,000 parameters: two hidden layers, the mean, a linear head."""
    panel = MODALITIES["panel"] | {"encoder": {"hidden": [HIDDEN, HIDDEN], "tokens": 1}}
    return study_of(modalities={"panel": panel}, fusion={"kind": "mean", "width": 8}, **sections)


@dataclass(frozen=True)
class Switch:
    """`weights` (HIDDEN,) of one unit, for inputs of 1: `before` in a batch of `rows`, `after` in one of a row more."""

    weights: Tensor
    rows: int
    before: float
    after: float


def switches(seed: int, most: int = 40, tries: int = 60) -> Iterator[Switch]:
    """Weights whose sum changes for the first rows of a batch when a row is added, as this machine's kernels do it."""
    random = torch.Generator().manual_seed(seed)
    for _ in range(tries):
        weights = _cancelling(random)
        sums = [float(_first_unit(rows, weights)) for rows in range(1, most + 1)]
        for rows, (before, after) in enumerate(pairwise(sums), start=1):
            if max(before, 0.0) != max(after, 0.0):  # what a ReLU leaves of them
                yield Switch(weights, rows, before, after)


def widest_switch(seed: int = 0) -> Switch | None:
    """The one that needs the most rows; None where every number of rows is served alike."""
    return max(switches(seed), key=lambda switch: switch.rows, default=None)


def _cancelling(random: torch.Generator) -> Tensor:
    large = LARGEST / 2.0 ** torch.randint(0, 3, (HIDDEN // 2,), generator=random)
    row = torch.cat([large, -large]) + torch.rand(HIDDEN, generator=random) / 16
    return row[torch.randperm(HIDDEN, generator=random)]


def _first_unit(rows: int, weights: Tensor) -> Tensor:
    return linear(torch.ones(rows, HIDDEN), weights.repeat(HIDDEN, 1), torch.zeros(HIDDEN))[0, 0]


def turning_gradients(study: Study, switch: Switch) -> MultimodalNetwork:
    """Everybody's gradient is one direction before the switch and the opposite one after it.

    The logit is always large; nearly all of the gradient is that of the head's weight, which is the token: it changes
    its sign with the switch.
    """
    network = _switched(study, switch)
    with torch.no_grad():
        network.head[0].weight.zero_()  # type: ignore[index]
        network.head[0].bias.fill_(50.0)  # type: ignore[index]
    return network


def turning_scores(study: Study, switch: Switch) -> MultimodalNetwork:
    """Everybody's probability is near 0 before the switch and near 1 after it, or the other way round."""
    network = _switched(study, switch)
    with torch.no_grad():
        network.head[0].weight.fill_(LARGEST)  # type: ignore[index]
        network.head[0].bias.fill_(0.0)  # type: ignore[index]
    return network


def _switched(study: Study, switch: Switch) -> MultimodalNetwork:
    """A network whose token has one sign or the other, by the switch, whoever the patient is."""
    network = build_network(study)
    first, _, second, _, last = network.encoders["panel"].layers  # type: ignore[misc]
    before, after = max(switch.before, 0.0), max(switch.after, 0.0)  # what the ReLU leaves
    middle = HIDDEN * (before + after) / 2
    gain = (1 if before > after else -1) * LARGEST / max(1.0, middle)
    with torch.no_grad():
        first.weight.zero_()
        first.bias.fill_(1.0)
        second.weight.copy_(switch.weights.repeat(HIDDEN, 1))
        second.bias.zero_()
        last.weight.fill_(gain)
        last.bias.fill_(-gain * middle)
    return network


def patients(study: Study, count: int, seed: int = 0) -> Batch:
    """`count` patients of the first class, all with their genes measured."""
    random = torch.Generator().manual_seed(seed)
    genes = len(MODALITIES["panel"]["genes"])
    values = torch.stack([torch.randn(count, genes, generator=random), torch.zeros(count, genes)], dim=1)
    return Batch({"panel": values}, torch.ones(count, 1, dtype=torch.bool), torch.zeros(count, dtype=torch.int64))
