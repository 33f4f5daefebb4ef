"""The sum of the patients' clipped gradients: what DP-SGD adds noise to (Abadi et al. 2016).

Two backends give the same sum. `loop` is plain autograd, one patient at a time: the reference, which works for any
network. `opacus` takes the gradients of several patients at once through Opacus's hooks, for accelerators; every row
of the batch must go through every layer as that row, which `common.models.clippable` checks.

Adding or removing one patient changes the sum by at most `bound` in L2 norm: clipping aims a hair below it and adds
up in float64, so that rounding stays inside. A patient whose gradient is not finite counts as zero, and neither
result, error nor log tells that there was one.

What is not claimed for `opacus`: the last bits of a row's gradient there depend on the size of the batch and on the
row's place in it, as in any batched kernel. Weights as they come out of training keep that at the last bits. Weights
that a hostile coordinator makes can blow it up, so that one patient moves the others' gradients: with all weights times
30 the sum moved by 1.01 times the bound. In `loop` each patient is alone, whatever the weights are: a site that does
not trust the coordinator's weights sets `clipping: loop`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from common.errors import PrivacyError
from common.models.batch import Batch
from common.models.clippable import unhookable

Loss = Callable[[Tensor, Tensor], Tensor]  # logits, target -> one number a row
Backend = Literal["loop", "opacus"]

_MARGIN = 1 - 1e-5
_ROWS_BYTES = 512 * 2**20  # what the gradients of the rows taken at once may fill
# On one CPU thread the hooks took 0.4 of the loop's time at 100,000 parameters, as much at 460,000, and 1.4 times as
# much for ResNet-18 at 64 pixels: they save calls, and pay for it in memory.
_SMALL = 500_000


class Clipper(Protocol):
    """Made once a training, and closed after it."""

    def sum(self, batch: Batch, bound: float) -> Tensor:
        """Flat float64 sum, over the rows, of each row's gradient clipped to L2 norm `bound`.

        The order is that of `named_parameters`, without the frozen ones. No rows give zeros.
        """

    def close(self) -> None:
        """Leave the network as it was before."""


class LoopClipper:
    """One patient after the other."""

    def __init__(self, network: nn.Module, loss: Loss) -> None:
        self._network = network.train()
        self._loss = loss
        self._parameters = trainable(network)

    def sum(self, batch: Batch, bound: float) -> Tensor:
        total = _zeros(self._parameters)
        for row in chunks(batch, 1):
            gradient = self._gradient(row)
            factor = _factors(torch.nn.utils.get_total_norm(gradient), bound)
            if factor > 0:
                torch._foreach_add_(total, gradient, alpha=float(factor))
        return _flat(total)

    def _gradient(self, row: Batch) -> list[Tensor]:
        # A copy lies where every copy lies: the alignment of a view, which kernels may go by, tells the row's place.
        inputs = {name: value.clone() for name, value in row.inputs.items()}
        loss = self._loss(self._network(inputs, row.present.clone()), row.target.clone()).sum()
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
        return list(found)

    def close(self) -> None:
        pass


class OpacusClipper:
    """`rows` patients at once (None: as many as fit into half a gigabyte of gradients)."""

    def __init__(self, network: nn.Module, loss: Loss, rows: int | None = None) -> None:
        from opacus.grad_sample import GradSampleModule

        self._network = network.train()
        self._loss = loss
        self._parameters = trainable(network)
        length = sum(parameter.numel() for parameter in self._parameters)
        self._rows = rows or max(1, min(256, _ROWS_BYTES // (4 * max(1, length))))
        # torch tells so of every first layer, whose inputs are data: Opacus does not use the part that is missing.
        warnings.filterwarnings("ignore", message="Full backward hook is firing when gradients are computed")
        self._hooked = GradSampleModule(network, loss_reduction="sum")

    def sum(self, batch: Batch, bound: float) -> Tensor:
        total = _zeros(self._parameters)
        try:
            for chunk in chunks(batch, self._rows):
                torch._foreach_add_(total, self._clipped(chunk, bound))
                self._forget()
        finally:
            self._forget()
        return _flat(total)

    def _clipped(self, chunk: Batch, bound: float) -> list[Tensor]:
        torch.autograd.backward(self._loss(self._hooked(chunk.inputs, chunk.present), chunk.target).sum())
        gradients = [self._of_each(parameter, len(chunk)) for parameter in self._parameters]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        factors = _factors(norms, bound)
        for gradient in gradients:  # 0 times what is not finite would not be 0
            gradient.masked_fill_((factors == 0).view(-1, *[1] * (gradient.dim() - 1)), 0.0)
        return [torch.tensordot(factors, gradient, dims=1) for gradient in gradients]

    def _of_each(self, parameter: nn.Parameter, rows: int) -> Tensor:
        gradient: Tensor | None = getattr(parameter, "grad_sample", None)
        return parameter.new_zeros(rows, *parameter.shape) if gradient is None else gradient

    def _forget(self) -> None:
        """Drop what the hooks keep, also after an error half-way and for layers that the loss did not reach."""
        for parameter in self._parameters:
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


def choose_backend(network: nn.Module, wish: Literal["auto", "loop", "opacus"], device: torch.device | str) -> Backend:
    """What a site's `clipping` means on this device: how fast, never what.

    `auto` takes the hooks on accelerators, and on the CPU for small networks. What hooks cannot serve is looped over.
    """
    if wish == "loop" or unhookable(network):
        return "loop"
    small = sum(parameter.numel() for parameter in trainable(network)) < _SMALL
    return "opacus" if wish == "opacus" or small or torch.device(device).type != "cpu" else "loop"


def clipper(network: nn.Module, loss: Loss, backend: Backend) -> Clipper:
    """A clipper for this network. Raises PrivacyError for `opacus` on a network that its hooks would get wrong."""
    if backend == "loop":
        return LoopClipper(network, loss)
    if wrong := unhookable(network):
        raise PrivacyError(f"Opacus's hooks cannot serve {', '.join(wrong)}. Set clipping: loop in site.yaml.")
    return OpacusClipper(network, loss)


def clipped_sum(
    network: nn.Module, batch: Batch, loss: Loss, bound: float, backend: Backend = "loop"
) -> tuple[Tensor, int]:
    """The flat sum of the rows' clipped gradients, and the number of rows, for once; see `Clipper`."""
    with closing(clipper(network, loss, backend)) as made:
        return made.sum(batch, bound), len(batch)


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn, in the order of every flat gradient here."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def chunks(batch: Batch, rows: int) -> Iterator[Batch]:
    """The batch in parts of at most `rows`, as views; none for an empty batch."""
    for start in range(0, len(batch), rows):
        part = slice(start, start + rows)
        inputs = {name: value[part] for name, value in batch.inputs.items()}
        yield Batch(inputs, batch.present[part], batch.target[part])


def _factors(norms: Tensor, bound: float) -> Tensor:
    """What each gradient is multiplied by: 1 within the bound, bound / norm above, 0 for a norm that is not finite."""
    return torch.where(torch.isfinite(norms), (bound * _MARGIN / norms).clamp(max=1.0), 0.0)


def _zeros(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return (
        torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        if tensors
        else torch.zeros(0, dtype=torch.float64)
    )
