"""The sum of the patients' clipped gradients: what DP-SGD adds noise to (Abadi et al. 2016).

Adding or removing one patient changes the sum by at most `bound` in L2 norm, whatever the weights are, because no
other patient changes what is computed of one:

    loop   plain autograd, one patient after the other
    slots  a constant number of rows, in which each patient's place is drawn by itself: see `client.training.slots`

`auto` takes slots for small networks on the CPU, where they are faster and tested, and else the loop. Clipping aims a
hair below the bound and adds up in float64, so that rounding stays inside. A patient whose gradient is not finite
counts as zero, and neither result, error nor log tells that there was one. So does a patient whose gradient fails in a
private round, of which this site alone is told.

`opacus` takes the gradients of several patients at once and does not promise that: see `client.training.hooks`. A site
gets it only by its own wish, and only where every row goes through every layer as that row, which
`common.layers.clippable` checks. Slots and `opacus` both serve only where two rows that are no patients' come out as
the loop has them.
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
from client.training.slots import SlotClipper, slots_serve
from common.errors import PrivacyError
from common.layers.clippable import unhookable
from common.models.batch import Batch

log = logging.getLogger("wardround.site")

Backend = Literal["loop", "slots", "opacus"]
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


def choose_backend(network: nn.Module, wish: Literal["auto", "loop", "opacus"], shape: Batch | None = None) -> Backend:
    """What a site's `clipping` means: `auto` is slots where these serve. What hooks cannot serve is looped over.

    `shape`: any batch of the study; with it, how dear a row is counts too.
    """
    if wish == "auto":
        return "slots" if slots_serve(network, shape) else "loop"
    return "opacus" if wish == "opacus" and not unhookable(network) else "loop"


def clipper(
    network: nn.Module, loss: Loss, backend: Backend, shape: Batch | None = None, failed: Failed | None = None
) -> Clipper:
    """A clipper for this network. `failed`: as for `LoopClipper`; where `opacus` takes patients together, none is told
    apart.

    `shape`: any batch of the study, of which only the shapes are looked at. With it `slots` and `opacus` are compared
    with the loop on two rows that are no patients', and are the loop where they fail or differ. Raises PrivacyError for
    hooks on a network of which it is known that its hooks get it wrong.
    """
    if backend == "loop":
        return LoopClipper(network, loss, failed)
    if wrong := unhookable(network):
        raise PrivacyError(f"Opacus's hooks cannot serve {', '.join(wrong)}. Set clipping: loop in site.yaml.")
    if shape is None or _as_the_loop(network, loss, backend, shape):
        return SlotClipper(network, loss, failed) if backend == "slots" else OpacusClipper(network, loss)
    log.warning("clipping: Opacus's hooks get this network wrong; its patients are taken one by one.")
    return LoopClipper(network, loss, failed)


def _as_the_loop(network: nn.Module, loss: Loss, backend: Backend, shape: Batch) -> bool:
    """Whether it gives the loop's sums of two rows that are no patients', up to rounding; and neither of them fails."""
    parts = _two_rows(shape, each=backend == "opacus")
    try:
        expected = [LoopClipper(network, loss).sum(part, 1.0) for part in parts]  # before there are hooks
        with closing(clipper(network, loss, backend)) as hooked:
            found = [hooked.sum(part, 1.0) for part in parts]
    except Exception:  # whatever a foreign network raises, or makes Opacus raise: the loop serves
        return False
    pairs = zip(found, expected, strict=True)
    return all(float((one - other).norm()) <= _SAME * float(other.norm()) for one, other in pairs)


def _two_rows(shape: Batch, *, each: bool) -> list[Batch]:
    """Both together, and each alone where that is another number of rows for the network."""
    rows = two_rows_like(shape)
    return [rows, *chunks(rows, 1)] if each else [rows]


def clipped_sum(
    network: nn.Module, batch: Batch, loss: Loss, bound: float, backend: Backend = "loop"
) -> tuple[Tensor, int]:
    """The flat sum of the rows' clipped gradients, and the number of rows, for once; see `Clipper`."""
    with closing(clipper(network, loss, backend)) as made:
        return made.sum(batch, bound), len(batch)
