"""From de-identified cases to rows, and from rows to the batch that training reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.cache import Entry
from client.data.case import DeidentifiedCase, Gaps, RecordValues
from client.data.pixels import prepare_image
from common.modalities import Modality
from common.modalities.image import ImageModality
from common.modalities.modality import RowLayout
from common.modalities.note import NoteModality
from common.modalities.record import RecordModality
from common.modalities.sequence import SequenceModality
from common.modalities.tokenizers import Tokenizer
from common.models.batch import Batch
from common.study import Study

Row = NDArray[Any]


def row_of(case: DeidentifiedCase, name: str, modality: Modality, tokenizer: Tokenizer | None) -> Row | None:
    """The stored row of one modality of a case; None where the case does not have it, or has gaps only."""
    if isinstance(modality, ImageModality):
        return _image_row(prepare_image(case.images[name], modality), modality) if name in case.images else None
    if isinstance(modality, RecordModality):
        return _record_row(case.records[name], modality) if name in case.records else None
    if isinstance(modality, NoteModality):
        if name not in case.notes or tokenizer is None:
            return None
        return np.array(tokenizer.encode(case.notes[name], modality.max_tokens), dtype=np.int32)
    return _sequence_row(case.sequences[name], modality) if name in case.sequences else None


def _image_row(image: NDArray[np.float32], modality: ImageModality) -> Row:
    return image.astype(np.float16) if modality.intensity == "range" else np.rint(image * 255.0).astype(np.uint8)


def _record_row(values: RecordValues, modality: RecordModality) -> Row | None:
    """In the order of `RecordColumns`."""
    gaps = np.concatenate([np.isnan(values.numeric), values.categorical < 0])
    if gaps.all():
        return None
    low = [column.low for column in modality.numeric.values()]
    high = [column.high for column in modality.numeric.values()]
    less = 1 if modality.drop_first else 0
    onehots = [
        np.eye(len(categories))[place][less:] if place >= 0 else np.zeros(len(categories) - less)
        for place, categories in zip(values.categorical, modality.categorical.values(), strict=True)
    ]
    numeric = np.where(np.isnan(values.numeric), 0.0, np.clip(values.numeric, low, high))
    return np.concatenate([numeric, *onehots, gaps.astype(np.float64)]).astype(np.float32)


def _sequence_row(values: Gaps, modality: SequenceModality) -> Row | None:
    gaps = np.isnan(values)
    if gaps.all():
        return None
    clipped = np.where(gaps, 0.0, np.clip(values, modality.low, modality.high))
    return np.stack([clipped, gaps.astype(np.float64)]).astype(np.float32)


def batch(study: Study, entries: Mapping[str, Entry], pseudonyms: Sequence[str], targets: Sequence[float]) -> Batch:
    """The cases of `pseudonyms`, in that order, with zeros where `entries` has no row of a case."""
    present = np.zeros((len(pseudonyms), len(study.names)), dtype=np.bool_)
    inputs = {}
    for place, (name, modality) in enumerate(study.modalities.items()):
        rows = _rows(modality.layout, len(pseudonyms))
        if name in entries:
            present[:, place] = _fill(rows, modality.layout, entries[name], pseudonyms)
        inputs[name] = torch.from_numpy(rows)
    target = torch.from_numpy(np.array(targets, dtype=study.task.target_type))
    return Batch(inputs, torch.from_numpy(present), target)


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
