"""From rows to the batch that training reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from client.data.cache import Entry
from client.data.kinds.kind import Row
from common.modalities.modality import RowLayout
from common.models.batch import Batch
from common.study import Study


def batch(study: Study, entries: Mapping[str, Entry], pseudonyms: Sequence[str], targets: Sequence[Any]) -> Batch:
    """The cases of `pseudonyms`, in that order, with zeros where `entries` has no row of a case."""
    inputs, present = inputs_of(study, entries, pseudonyms)
    shape = (len(pseudonyms), *study.task.target_shape(study.modalities))
    target = torch.from_numpy(np.array(targets, dtype=study.task.target_type).reshape(shape))
    return Batch(inputs, present, target)


def inputs_of(
    study: Study, entries: Mapping[str, Entry], pseudonyms: Sequence[str]
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the same without targets: the tensors by modality, and who has which, bool (B, M)."""
    present = np.zeros((len(pseudonyms), len(study.names)), dtype=np.bool_)
    inputs = {}
    for place, (name, modality) in enumerate(study.modalities.items()):
        rows = _rows(modality.layout, len(pseudonyms))
        if name in entries:
            present[:, place] = _fill(rows, modality.layout, entries[name], pseudonyms)
        inputs[name] = torch.from_numpy(rows)
    return inputs, torch.from_numpy(present)


def _rows(layout: RowLayout, number: int) -> Row:
    """Zeros of the tensor's type. numpy leaves memory that is never written to the operating system: an absent
    modality costs none."""
    return np.zeros((number, *layout.shape), dtype=layout.tensor)


def _fill(rows: Row, layout: RowLayout, entry: Entry, pseudonyms: Sequence[str]) -> NDArray[np.bool_]:
    place = {pseudonym: number for number, pseudonym in enumerate(entry.pseudonyms)}
    present = np.array([pseudonym in place for pseudonym in pseudonyms], dtype=np.bool_)
    for number, pseudonym in enumerate(pseudonyms):
        if pseudonym in place:
            rows[number] = entry.rows[place[pseudonym]]
    if layout.whole != 1.0:
        rows /= layout.whole
    return present
