"""The sum of the patients' clipped gradients: what DP-SGD adds noise to (Abadi et al. 2016).

Adding or removing one patient changes the sum by at most `bound` in L2 norm, whatever the weights are, because each
patient's gradient is computed alone: `loop`, plain autograd, one patient after the other. Clipping aims a hair below
the bound and adds up in float64, so that rounding stays inside. A patient whose gradient is not finite counts as zero,
and neither result, error nor log tells that there was one. So does a patient whose gradient fails in a private round,
of which this site alone is told.

`opacus` takes the gradients of several patients at once and does not promise that: see `client.training.hooks`. A site
gets it only by its own wish, and only where every row goes through every layer as that row, which
`common.models.clippable` checks, and two rows that are no patients' come out as the loop has them.
"""

from __future__ import annotations

import logging
from contextlib import closing
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from client.training.clipping import Clipper, factors, norms, zeros
from client.training.hooks import OpacusClipper
from client.training.rows import Failed, Loss, chunks, flat, of_row, one_by_one, trainable, two_rows_like
from common.errors import PrivacyError
from common.models.batch import Batch
from common.models.clippable import unhookable

log = logging.getLogger("wardround.site")

Backend = Literal["loop", "opacus"]
_SAME = 1e-3  # of the sum's norm: what rounding has been seen to make of honest weights is below 2e-5


class LoopClipper:
    """One patient after the other. `failed` is told of a patient whose gradient fails: that patient counts as zero."""

    def __init__(self, network: nn.Module, loss: Loss, failed: Failed | None = None) -> None:
        self._failed = failed
        self._network = network.train()
        self._loss = loss
        self._parameters = trainable(network)

    def sum(self, batch: Batch, bound: float) -> Tensor:
        total = flat(zeros(self._parameters))
        for row in one_by_one(batch):
            gradient = of_row(partial(self._gradient, row), self._failed)
            if gradient is None:
                continue
            factor = float(factors(norms([gradient.unsqueeze(0)], 1), bound))
            if factor > 0:
                total.add_(gradient, alpha=factor)
        return total

    def _gradient(self, row: Batch) -> Tensor:
        loss = self._loss(self._network(row.inputs, row.present), row.target).sum()
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
        return flat(list(found))

    def close(self) -> None:
        pass


def choose_backend(network: nn.Module, wish: Literal["auto", "loop", "opacus"]) -> Backend:
    """What a site's `clipping` means: `auto` is the loop. What hooks cannot serve is looped over in any case."""
    return "opacus" if wish == "opacus" and not unhookable(network) else "loop"


def clipper(
    network: nn.Module, loss: Loss, backend: Backend, shape: Batch | None = None, failed: Failed | None = None
) -> Clipper:
    """A clipper for this network. `failed`: as for `LoopClipper`; of patients taken together none is told apart.

    `shape`: any batch of the study, of which only the shapes are looked at. With it `opacus` is compared with the loop
    on two rows that are no patients', and is the loop where it fails or differs. Raises PrivacyError for `opacus` on a
    network of which it is known that its hooks get it wrong.
    """
    loop = LoopClipper(network, loss, failed)
    if backend == "loop":
        return loop
    if wrong := unhookable(network):
        raise PrivacyError(f"Opacus's hooks cannot serve {', '.join(wrong)}. Set clipping: loop in site.yaml.")
    parts = _two_rows_and_each(shape) if shape is not None else []
    expected = [loop.sum(part, 1.0) for part in parts]  # before there are hooks
    hooked = OpacusClipper(network, loss)
    if _agrees(hooked, parts, expected):
        return hooked
    hooked.close()
    log.warning("clipping: Opacus's hooks get this network wrong; its patients are taken one by one.")
    return loop


def _two_rows_and_each(shape: Batch) -> list[Batch]:
    rows = two_rows_like(shape)
    return [rows, *chunks(rows, 1)]


def _agrees(hooked: Clipper, parts: list[Batch], expected: list[Tensor]) -> bool:
    """Whether it gives these sums up to rounding."""
    try:
        found = [hooked.sum(part, 1.0) for part in parts]
    except Exception:  # whatever a foreign network makes Opacus raise: the loop serves
        return False
    pairs = zip(found, expected, strict=True)
    return all(float((one - other).norm()) <= _SAME * float(other.norm()) for one, other in pairs)


def clipped_sum(
    network: nn.Module, batch: Batch, loss: Loss, bound: float, backend: Backend = "loop"
) -> tuple[Tensor, int]:
    """The flat sum of the rows' clipped gradients, and the number of rows, for once; see `Clipper`."""
    with closing(clipper(network, loss, backend)) as made:
        return made.sum(batch, bound), len(batch)
