"""Notes: free text as the hospital wrote it. What comes out of here has not passed the gate."""

from __future__ import annotations

from client.data.tables import Table
from client.site import NoteSource


def read_notes(table: Table, source: NoteSource, patient: str, key: str) -> dict[str, str]:
    """Patient -> its notes, joined in the file's order. A patient whose notes are all empty has none."""
    text = table.column(source.text, f"{key}.text")
    rows = table.by_patient(patient, f"{key}.patient")
    joined = {name: "\n".join(text[row] for row in numbers if text[row]) for name, numbers in rows.items()}
    return {name: note for name, note in joined.items() if note}
