"""How a hospital reads curves, for the copy of the product that has them: a row of points, without gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from common.modalities.curve import CurveModality
from numpy.typing import NDArray

from client.data.case import Identifier
from client.data.kinds.kind import Row, closed
from client.data.kinds.table import TableKind
from client.data.records import numeric_columns
from client.data.tables import one_row
from client.site import TableSource

Curve = NDArray[np.float64]


class CurveKind(TableKind[TableSource, CurveModality, Curve, Curve]):
    section = "curves"

    @classmethod
    def columns(cls, source: TableSource, modality: CurveModality) -> Sequence[str]:
        return [f"p{place}" for place in range(modality.points)]

    def values(self) -> Mapping[str, Curve]:
        patients = self.table.by_patient(self.files.patient(self.source.patient), f"{self.key}.patient")
        chosen = one_row(self.table, patients, self.source.duplicates, self.key)
        names, rows = self.columns(self.source, self.modality), list(chosen.values())
        found = numeric_columns(self.table, self.source, names, rows, self.key)
        return {patient: found[place] for place, patient in enumerate(chosen)}

    @classmethod
    def gate(
        cls, raw: Curve, modality: CurveModality, key: str, known: Collection[Identifier], counts: Counter[str]
    ) -> Curve | None:
        points = np.asarray(raw, np.float64)
        if points.shape != (modality.points,):
            raise closed(key)
        return points

    @classmethod
    def row(cls, clean: Curve, modality: CurveModality, tool: Any) -> Row | None:
        if np.isnan(clean).any():
            return None
        share = (np.clip(clean, modality.low, modality.high) - modality.low) / (modality.high - modality.low)
        return np.rint(share * 255.0).astype(np.uint8)
