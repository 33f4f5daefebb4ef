"""Small studies of four modalities, and cases for them: large enough for every code path, small enough for a loop."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from common.modalities.image import ImageModality
from common.modalities.note import NoteModality
from common.modalities.record import RecordColumns, RecordModality
from common.modalities.sequence import SequenceModality
from common.models.batch import Batch
from common.study import Study, parse_study

MODALITIES: dict[str, dict[str, Any]] = {
    "scan": {"kind": "image", "size": 16, "encoder": {"backbone": "small_cnn", "channels": 4}},
    "chart": {
        "kind": "record",
        "numeric": {"age": {"low": 0, "high": 110, "mean": 60, "sd": 15}, "dose": {"low": 0, "high": 9}},
        "categorical": {"smoker": ["never", "past", "now"]},
        "encoder": {"hidden": [8]},
    },
    "letter": {
        "kind": "note",
        "max_tokens": 8,
        "encoder": {"vocabulary": 32, "width": 8, "layers": 1, "heads": 2},
    },
    "panel": {"kind": "sequence", "genes": ["egfr", "kras", "alk"], "encoder": {"hidden": [8], "tokens": 2}},
}


def study_of(*names: str, **sections: Any) -> Study:
    """A study of the named modalities (all four, if none is named); `sections` replace whole sections of study.yaml."""
    content: dict[str, Any] = {
        "study": "tiny",
        "task": {"kind": "binary", "classes": ["benign", "malignant"]},
        "modalities": {name: MODALITIES[name] for name in names or MODALITIES},
        "rounds": 3,
        "fusion": {"kind": "mean", "width": 8, "modality_dropout": 0.0},
        "training": {"local_steps": 4, "batch_size": 4},
    }
    return parse_study(json.dumps(content | sections))  # YAML too, and without its aliases


def cases_of(study: Study, n: int, *, seed: int = 0, missing: float = 0.3) -> Batch:
    """`n` random cases. Each modality of each is absent by chance; where absent, zeros."""
    random = np.random.default_rng(seed)
    present = random.random((n, len(study.names))) >= missing
    inputs = {}
    for column, (name, modality) in enumerate(study.modalities.items()):
        value = torch.as_tensor(_values(modality, n, random))
        here = torch.as_tensor(present[:, column]).reshape(n, *[1] * (value.dim() - 1))
        inputs[name] = torch.where(here, value, torch.zeros_like(value))
    target = torch.as_tensor(random.integers(0, len(study.task.classes), n))
    return Batch(inputs, torch.as_tensor(present), target)


def _values(modality: Any, n: int, random: np.random.Generator) -> np.ndarray:
    match modality:
        case ImageModality():
            return random.random((n, modality.slices, modality.size, modality.size), dtype=np.float32)
        case RecordModality():
            columns = RecordColumns.of(modality)
            record = (random.random((n, columns.width)) < 0.5).astype(np.float32)
            low = np.array([column.low for column in modality.numeric.values()])
            high = np.array([column.high for column in modality.numeric.values()])
            record[:, columns.values] = low + (high - low) * random.random((n, columns.numeric))
            return record
        case NoteModality():
            tokens = random.integers(1, modality.encoder.vocabulary, (n, modality.max_tokens))
            ends = random.integers(1, modality.max_tokens + 1, (n, 1))
            return np.where(np.arange(modality.max_tokens) < ends, tokens, 0)
        case SequenceModality():
            genes = len(modality.genes)
            gaps = random.random((n, genes)) < 0.2
            values = np.where(gaps, 0.0, random.normal(size=(n, genes)))
            return np.stack([values, gaps], axis=1).astype(np.float32)
    raise AssertionError("a modality that this builder does not know")
