"""Clipping of several patients in one call, where no patient changes what is computed of another.

The network always sees the same number of rows, whoever is there: SLOTS places for patients, and two rows that are
always nobody's, one without any modality and one with all of them, so that what a library asks of a whole batch (is
nothing padded? is anything?) has one answer. Kernels are chosen by shapes, so they are always the same ones, and in a
kernel of one shape a row's numbers come from that row and its place.

Each patient's place is drawn by itself from the operating system, in every step. Where it is taken, the patient has the
same place in a further call. Places that were dealt out together would tell how many patients there are. Places
without a patient hold zeros, and nothing is added of them: by their place, not by their value.

A call that raises is made again for each of its patients alone, each in the same place among the same number of rows:
so the others' numbers stay what they were, and who makes it raise counts as nobody. A row that is not finite needs no
such second call, for it changes no other row's bits.

What goes by the other patients is the number of calls, which shows in the time and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from client.training.clipping import factors, norms, zeros
from client.training.hooks import HookedGradients
from client.training.rows import Failed, Loss, flat, of_row, two_rows_like
from common.layers.clippable import unhookable
from common.models.batch import Batch
from common.privacy.mechanism import places

SLOTS = 64  # a constant of the release
ROWS = SLOTS + 2  # of every call: after the slots a row without any modality, and a row with all of them
# Above, computing what stands in empty places costs more than the calls that it saves; measured at SLOTS = 64.
LARGEST = 100_000  # parameters
DEAREST = 1_000_000  # multiplications that one row costs forward, in linear layers and convolutions
# The modules, each by its full name, of which tests show that a row's gradient is that row's alone.
SHOWN = frozenset(
    {
        *(f"torch.nn.modules.activation.{name}" for name in ("GELU", "ReLU")),
        *(f"torch.nn.modules.container.{name}" for name in ("ModuleDict", "ModuleList", "Sequential")),
        *(f"torch.nn.modules.linear.{name}" for name in ("Identity", "Linear")),
        *(f"torch.nn.modules.normalization.{name}" for name in ("GroupNorm", "LayerNorm")),
        "torch.nn.modules.conv.Conv2d",
        "torch.nn.modules.dropout.Dropout",  # of nothing: one that drops something is looped over
        "torch.nn.modules.pooling.AdaptiveAvgPool2d",
        "torch.nn.modules.sparse.Embedding",
        *(f"common.layers.attention.{name}" for name in ("Block", "SelfAttention")),
        *(
            f"common.fusions.{name.lower()}.{name}Fusion"
            for name in ("Attention", "Concat", "Mean", "Product", "Weighted")
        ),
        *(f"common.modalities.note_encoder.{name}" for name in ("NoteTokens", "Transformer")),
        "common.modalities.image_encoder.ImageTokens",
        "common.models.network.MultimodalNetwork",
        "common.layers.perceptron.Standardise",
        "common.modalities.record_encoder.RecordTokens",
        "common.modalities.sequence_encoder.SequenceTokens",
        "common.layers.table.TokenTable",
        "transformers.activations.GELUActivation",
        *(f"transformers.models.bert.modeling_bert.Bert{name}" for name in ("Model", "Embeddings", "Encoder", "Layer")),
        *(f"transformers.models.bert.modeling_bert.Bert{name}" for name in ("Attention", "SelfAttention")),
        *(f"transformers.models.bert.modeling_bert.Bert{name}" for name in ("SelfOutput", "Intermediate", "Output")),
    }
)


class SlotClipper:
    """See above. On the CPU, and for networks that `slots_serve`: for these it is tested.

    `failed` is told of a patient whose gradient fails: that patient counts as zero.
    """

    def __init__(self, network: nn.Module, loss: Loss, failed: Failed | None = None) -> None:
        self._failed = failed
        self._gradients = HookedGradients(network, loss)

    def sum(self, batch: Batch, bound: float) -> Tensor:
        total = flat(zeros(self._gradients.parameters))
        for taken in calls(places(len(batch), SLOTS).tolist()):
            for gradient in self._of_each_patient(batch, taken):
                factor = float(factors(norms([gradient.unsqueeze(0)], 1), bound))
                if factor > 0:
                    total.add_(gradient, alpha=factor)
        return total

    def _of_each_patient(self, batch: Batch, taken: dict[int, int]) -> Iterator[Tensor]:
        """The flat gradient of each who has a place; without those whose work fails."""
        try:
            found = self.of_each_place(in_places(batch, taken))
        except Exception:  # whatever it is; of one patient, who is to be found without changing what the others give
            if self._failed is None:
                raise
            yield from self._of_each_alone(batch, taken)
        else:
            yield from (found[place] for place in taken)

    def _of_each_alone(self, batch: Batch, taken: dict[int, int]) -> Iterator[Tensor]:
        for place, row in taken.items():
            gradient = of_row(partial(self._alone, batch, place, row), self._failed)
            if gradient is not None:
                yield gradient

    def _alone(self, batch: Batch, place: int, row: int) -> Tensor:
        return self.of_each_place(in_places(batch, {place: row}))[place]

    def of_each_place(self, rows: Batch) -> Tensor:
        """(ROWS, parameters): the flat gradient of each of the ROWS rows."""
        return torch.cat([gradient.reshape(ROWS, -1) for gradient in self._gradients.of(rows)], dim=1)

    def close(self) -> None:
        self._gradients.close()


def slots_serve(network: nn.Module, shape: Batch | None = None) -> bool:
    """Whether slots are safe for this network, as far as tests say, and faster than one patient after the other.

    It is on the CPU, hooks can serve it, it is small, and it is built of the modules SHOWN alone: no torchvision
    backbone is. Of `shape`, any batch of the study, only the shapes are looked at: nothing here goes by patients.
    """
    parameters = list(network.parameters())
    return (
        all(parameter.device.type == "cpu" for parameter in parameters)
        and sum(parameter.numel() for parameter in parameters) <= LARGEST
        and all(_shown(module) for module in network.modules())
        and not unhookable(network)
        and (shape is None or multiplications(network, two_rows_like(shape).rows([0])) <= DEAREST)
    )


def _shown(module: nn.Module) -> bool:
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    return name in SHOWN and not (isinstance(module, nn.Dropout) and module.p > 0)


def multiplications(network: nn.Module, batch: Batch) -> int:
    """How many the network's linear layers and convolutions take for this batch, forward."""
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        counts.append(output.numel() * weight[0].numel())

    with torch.no_grad(), ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                stack.callback(module.register_forward_hook(count).remove)
        network(batch.inputs, batch.present)
    return sum(counts)


def calls(slots: list[int]) -> Iterator[dict[int, int]]:
    """For each call, place -> the row that has it: `slots[row]`, in the first call in which nobody else has."""
    turns: list[dict[int, int]] = []
    seen = [0] * SLOTS
    for row, place in enumerate(slots):
        if seen[place] == len(turns):
            turns.append({})
        turns[seen[place]][place] = row
        seen[place] += 1
    yield from turns


def in_places(batch: Batch, taken: dict[int, int]) -> Batch:
    """ROWS rows: the batch's in the places that they have taken, nobody in the others, and the two that are always
    nobody's. All tensors are new, so they lie in memory where such tensors always lie."""
    to, rows = list(taken), list(taken.values())
    inputs = {}
    for name, value in batch.inputs.items():
        inputs[name] = value.new_zeros(ROWS, *value.shape[1:])
        inputs[name][ROWS - 1] = 1
        inputs[name][to] = value[rows]
    present = batch.present.new_zeros(ROWS, batch.present.shape[1])
    present[ROWS - 1] = True
    present[to] = batch.present[rows]
    target = batch.target.new_zeros(ROWS, *batch.target.shape[1:])
    target[to] = batch.target[rows]
    return Batch(inputs, present, target)
