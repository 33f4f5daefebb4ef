"""Notes: free text as the hospital wrote it. What comes out of here has not passed the gate."""

from __future__ import annotations

from client.data.tables import Table
from client.site import NoteSource

# The time of the gate grows with the length of a note and with what is sought in it: one patient must not take a day.
LONGEST = 200_000  # signs, of all notes of a patient together
LONGEST_IDENTIFIER, MOST_IDENTIFIERS = 1_024, 50_000  # signs of one, as DICOM's ST (PS3.5 6.2), and of all of a patient


def read_notes(table: Table, source: NoteSource, patient: str, key: str) -> dict[str, str]:
    """Patient -> its notes, joined in the file's order. A patient whose notes are all empty has none."""
    text = table.column(source.text, f"{key}.text")
    rows = table.by_patient(patient, f"{key}.patient")
    joined = {name: "\n".join(text[row] for row in numbers if text[row]) for name, numbers in rows.items()}
    return {name: note for name, note in joined.items() if note}
