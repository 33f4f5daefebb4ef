"""Sequences: the study's genes, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from client.data.case import Gaps, Identifier
from client.data.kinds.kind import Row, closed
from client.data.kinds.table import TableKind
from client.data.sequences import read_sequences
from client.site import TableSource
from common.modalities.sequence import SequenceModality


class SequenceKind(TableKind[TableSource, SequenceModality, Gaps, Gaps]):
    section = "sequences"

    @classmethod
    def columns(cls, source: TableSource, modality: SequenceModality) -> Sequence[str]:
        return modality.genes

    def values(self) -> Mapping[str, Gaps]:
        return read_sequences(self.table, self.source, self.modality, self.files.patient(self.source.patient), self.key)

    @classmethod
    def gate(
        cls, raw: Gaps, modality: SequenceModality, key: str, known: Collection[Identifier], counts: Counter[str]
    ) -> Gaps | None:
        genes = np.asarray(raw, np.float64)
        if genes.shape != (len(modality.genes),):
            raise closed(key)
        return genes

    @classmethod
    def row(cls, clean: Gaps, modality: SequenceModality, tool: Any) -> Row | None:
        gaps = np.isnan(clean)
        if gaps.all():
            return None
        clipped = np.where(gaps, 0.0, np.clip(clean, modality.low, modality.high))
        return np.stack([clipped, gaps.astype(np.float64)]).astype(np.float32)
