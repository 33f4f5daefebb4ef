"""Sequences: one row a patient, one column a gene, in the study's order, with gaps."""

from __future__ import annotations

from client.data.case import Gaps
from client.data.records import numeric_columns
from client.data.tables import Table, one_row
from client.site import TableSource
from common.modalities.sequence import SequenceModality


def read_sequences(
    table: Table, source: TableSource, modality: SequenceModality, patient: str, key: str
) -> dict[str, Gaps]:
    """Patient -> (genes,) values, NaN for gaps. As in `read_records`, what is no number is an error, or a gap."""
    chosen = one_row(table, table.by_patient(patient, f"{key}.patient"), source.duplicates, key)
    values = numeric_columns(table, source, modality.genes, list(chosen.values()), key)
    return {name: values[row] for row, name in enumerate(chosen)}
