"""A batch taken apart into its patients, and the parameters that their gradients are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from common.models.batch import Batch

Loss = Callable[[Tensor, Tensor], Tensor]  # logits, target -> one number a row
Failed = Callable[[Exception], None]  # is told of what a patient's row raised
T = TypeVar("T")


def trainable(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn, in the order of every flat gradient here."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def chunks(batch: Batch, rows: int) -> Iterator[Batch]:
    """The batch in parts of at most `rows`, as views; none for an empty batch."""
    for start in range(0, len(batch), rows):
        part = slice(start, start + rows)
        inputs = {name: value[part] for name, value in batch.inputs.items()}
        yield Batch(inputs, batch.present[part], batch.target[part])


def one_by_one(batch: Batch) -> Iterator[Batch]:
    """Each row as a batch of its own: a copy, which lies in memory where every copy lies.

    The alignment of a view, which kernels may go by, would tell the row's place among the others.
    """
    for row in chunks(batch, 1):
        yield Batch(
            {name: value.clone() for name, value in row.inputs.items()}, row.present.clone(), row.target.clone()
        )


def of_row(make: Callable[[], T], failed: Failed | None) -> T | None:
    """Return `make()`, the work on one patient's row; where that fails, tell `failed` and return None.

    Raised further, it would take all other patients out of the sum: one patient more would then move it by everybody.
    failed: None: what is raised stays raised
    """
    if failed is None:
        return make()
    try:
        return make()
    except Exception as error:  # whatever it is: to tell it apart from any other would tell of the patient
        failed(error)
    return None


def flat(tensors: list[Tensor]) -> Tensor:
    """The tensors' numbers one after the other; without tensors an empty float64 vector."""
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def two_rows_like(batch: Batch) -> Batch:
    """Two rows that are nobody's, of the batch's shapes: every modality present, numbers between 0 and 1, tokens 1 and
    2 and then padding.

    They come from no generator and from no patient, and are the same wherever the shapes are.
    """
    inputs = {name: _made_up(value.new_zeros(2, *value.shape[1:])) for name, value in batch.inputs.items()}
    present = batch.present.new_ones(2, batch.present.shape[1])
    return Batch(inputs, present, batch.target.new_zeros(2, *batch.target.shape[1:]))


def _made_up(zeros: Tensor) -> Tensor:
    places = torch.arange(zeros.numel(), device=zeros.device)
    if not zeros.is_floating_point():
        column = places % zeros.shape[-1]
        return torch.where(column < zeros.shape[-1] * 3 // 4, 1 + column % 2, 0).to(zeros.dtype).view_as(zeros)
    return (0.5 + 0.5 * torch.sin(places.double() * 1.7 + 0.3)).to(zeros.dtype).view_as(zeros)
