"""No clipped gradient is longer than the bound, as float64 measures it, however many numbers it has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from client.training.clipped_sum import LoopClipper
from client.training.clipping import factors, norms
from client.training.subnormal import flushed_to_zero
from common.models.batch import Batch

torch.set_num_threads(1)
LENGTHS = [1, 63, 65, 16_384, 16_385, 100_000, 2_000_003]
HARD = {
    "normal": lambda n: torch.randn(n, generator=torch.Generator().manual_seed(n)),
    "heavy tails": lambda n: torch.randn(n, generator=torch.Generator().manual_seed(n)) ** 7,
    "all alike": lambda n: torch.full((n,), 0.1),
    "one that hides the others": lambda n: torch.cat([torch.full((1,), 1e3), torch.full((n - 1,), 0.1)]),
    "growing": lambda n: torch.logspace(-6, 6, n),
    "squares below float32": lambda n: torch.full((n,), 1e-21),
    "squares above float32": lambda n: torch.full((n,), 1e25),
    "rounded down in every block": lambda n: torch.tensor([4096.0, *[0.3535] * 63]).repeat(n // 64 + 1)[:n],
}


def too_long(gradient: Tensor, bound: float) -> float:
    """The clipped gradient's true length, in units of the bound."""
    share = factors(norms([gradient.unsqueeze(0)], 1), bound)
    return float((share * gradient.double()).norm()) / bound


@pytest.mark.parametrize("length", [*LENGTHS, pytest.param(23_000_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", HARD)
def test_a_clipped_gradient_is_no_longer_than_its_bound(kind: str, length: int) -> None:
    gradient = HARD[kind](length)
    for bound in (1.0, 1e-3, float(gradient.double().norm()) / 2):
        assert too_long(gradient, bound) <= 1.0


@pytest.mark.parametrize("length", [16_384, 16_385, 100_000])
@pytest.mark.parametrize("value", [1e-19, 1e-20, 1e-30, 1e-37])
def test_numbers_whose_squares_are_flushed_to_zero_are_clipped(value: float, length: int) -> None:
    """A private round flushes subnormal numbers: a study with a tiny bound had exact sums, and a certified epsilon."""
    gradient = torch.full((length,), value)
    gradient[100] = 50 * value
    with flushed_to_zero():
        for bound in (1e-30, 1e-20, 1.0, float(gradient.double().norm()) / 2):
            assert too_long(gradient, bound) <= 1.0


@pytest.mark.parametrize("length", LENGTHS)
def test_one_that_is_within_the_bound_stays_as_it_is(length: int) -> None:
    gradient = HARD["normal"](length)
    assert float(factors(norms([gradient.unsqueeze(0)], 1), float(gradient.double().norm()) * 1.0001)) == 1.0


class Weighed(nn.Module):
    """Its gradient is the row itself."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(length))

    def forward(self, inputs: dict[str, Tensor], present: Tensor) -> Tensor:
        return inputs["x"] @ self.weight[:, None]


def test_the_loop_keeps_a_million_numbers_within_the_bound() -> None:
    """A float32 norm was too small by 4e-4 here: the sum of one patient was longer than what is charged."""
    length = 1_000_000
    rows = torch.stack([HARD["all alike"](length), HARD["one that hides the others"](length)])
    network = Weighed(length)
    clipper = LoopClipper(network, lambda logits, target: logits.squeeze(1))
    for row in range(2):
        batch = Batch({"x": rows[row : row + 1]}, torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, dtype=torch.int64))
        assert float(clipper.sum(batch, 1.0).norm()) <= 1.0
