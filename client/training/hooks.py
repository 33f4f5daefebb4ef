"""Clipping of several patients at once, through Opacus's hooks: fast on accelerators, and not for crafted weights.
`client.training.slots` uses the same hooks on a constant number of rows, for which what follows does not hold.

The last bits of a row's gradient depend on the size of the batch and on the row's place in it, as in any batched
kernel. For weights that come out of training these are the last bits. A hostile coordinator can make weights that turn
them into everybody's whole gradient: adding one patient then moves the sum by many times the bound.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from client.training.clipping import factors, norms, zeros
from client.training.rows import Loss, chunks, flat, trainable
from common.models.batch import Batch

# What a site is told that wishes for it.
GIVEN_UP = (
    "A coordinator can make weights with which one patient changes what is computed of the others, many times what the "
    "noise hides: the study's epsilon then holds only if every coordinator is honest. Set clipping: auto for a promise "
    "that holds whatever the weights are."
)
_ROWS_BYTES = 512 * 2**20  # what the gradients of the rows taken at once may fill


class HookedGradients:
    """Each row's own gradient, for a batch of rows in one call."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        from opacus.grad_sample import GradSampleModule

        self._network = network.train()
        self._loss = loss
        self.parameters = trainable(network)
        # torch tells so of every first layer, whose inputs are data: Opacus does not use the part that is missing.
        warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients are computed")
        self._hooked = GradSampleModule(network, loss_reduction="sum")

    def of(self, batch: Batch) -> list[Tensor]:
        """A tensor (rows, *shape) for each parameter. The hooks keep nothing of them, also after an error."""
        try:
            torch.autograd.backward(self._loss(self._hooked(batch.inputs, batch.present), batch.target).sum())
            return [self._of_each(parameter, len(batch)) for parameter in self.parameters]
        finally:
            self._forget()

    def _of_each(self, parameter: nn.Parameter, rows: int) -> Tensor:
        gradient: Tensor | None = getattr(parameter, "grad_sample", None)
        return parameter.new_zeros(rows, *parameter.shape) if gradient is None else gradient

    def _forget(self) -> None:
        """Drop what the hooks keep, also after an error half-way and for layers that the loss did not reach."""
        for parameter in self.parameters:
            parameter.grad = None
            parameter.grad_sample = None  # type: ignore[attr-defined]  # Opacus keeps its state on the parameters
            parameter._forward_counter = 0  # type: ignore[attr-defined]
            if hasattr(parameter, "_current_grad_sample"):
                del parameter._current_grad_sample
        for module in self._network.modules():
            for name in ("activations", "max_batch_len"):
                if hasattr(module, name):
                    delattr(module, name)

    def close(self) -> None:
        self._forget()
        self._hooked.to_standard_module()


class OpacusClipper:
    """`rows` patients at once (None: as many as fit into half a gigabyte of gradients)."""

    def __init__(self, network: nn.Module, loss: Loss, rows: int | None = None) -> None:
        self._gradients = HookedGradients(network, loss)
        length = sum(parameter.numel() for parameter in self._gradients.parameters)
        self._rows = rows or max(1, min(256, _ROWS_BYTES // (4 * max(1, length))))

    def sum(self, batch: Batch, bound: float) -> Tensor:
        total = zeros(self._gradients.parameters)
        for chunk in chunks(batch, self._rows):
            add_clipped(total, self._gradients.of(chunk), len(chunk), bound)
        return flat(total)

    def close(self) -> None:
        self._gradients.close()


def add_clipped(total: list[Tensor], gradients: list[Tensor], rows: int, bound: float) -> None:
    """Add the rows' clipped gradients, in float64. Of those whose norm is not finite nothing is added."""
    shares = factors(norms(gradients, rows), bound)
    for part, gradient in zip(total, gradients, strict=True):
        wide = gradient.reshape(rows, -1).double()
        wide.masked_fill_((shares == 0)[:, None], 0.0)  # 0 times what is not finite would not be 0
        part.add_((shares @ wide).view(part.shape))
