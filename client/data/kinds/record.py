"""Records: a row of the hospital's table. Numbers and places in the study's lists pass the gate, and no text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from client.data.case import Identifier, RecordValues
from client.data.kinds.kind import Row, closed
from client.data.kinds.table import TableKind
from client.data.records import read_records
from client.site import TableSource
from common.modalities.record import RecordModality


class RecordKind(TableKind[TableSource, RecordModality, RecordValues, RecordValues]):
    section = "records"

    @classmethod
    def columns(cls, source: TableSource, modality: RecordModality) -> Sequence[str]:
        return modality.columns

    def values(self) -> Mapping[str, RecordValues]:
        return read_records(self.table, self.source, self.modality, self.files.patient(self.source.patient), self.key)

    @classmethod
    def gate(
        cls, raw: RecordValues, modality: RecordModality, key: str, known: Collection[Identifier], counts: Counter[str]
    ) -> RecordValues | None:
        """The study's columns, as numbers and places in the study's lists."""
        if not isinstance(raw, RecordValues):
            raise closed(key)
        lists = [len(categories) for categories in modality.categorical.values()]
        numeric, categorical = np.asarray(raw.numeric, np.float64), np.asarray(raw.categorical, np.int64)
        if numeric.shape != (len(modality.numeric),) or categorical.shape != (len(lists),):
            raise closed(key)
        if np.any(categorical < -1) or np.any(categorical >= np.array(lists, dtype=np.int64)):
            raise closed(key)
        return RecordValues(numeric, categorical)

    @classmethod
    def row(cls, clean: RecordValues, modality: RecordModality, tool: Any) -> Row | None:
        """In the order of `RecordColumns`."""
        gaps = np.concatenate([np.isnan(clean.numeric), clean.categorical < 0])
        if gaps.all():
            return None
        low = [column.low for column in modality.numeric.values()]
        high = [column.high for column in modality.numeric.values()]
        less = 1 if modality.drop_first else 0
        onehots = [
            np.eye(len(categories))[place][less:] if place >= 0 else np.zeros(len(categories) - less)
            for place, categories in zip(clean.categorical, modality.categorical.values(), strict=True)
        ]
        numeric = np.where(np.isnan(clean.numeric), 0.0, np.clip(clean.numeric, low, high))
        return np.concatenate([numeric, *onehots, gaps.astype(np.float64)]).astype(np.float32)
