"""Kinds of data, as a hospital has them. Each is one file of this package, and one line here.

See `kind.DataKind` for what a kind can do, and `common/modalities` for what all sides share of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client.data.kinds.image import ImageKind
from client.data.kinds.kind import DataKind
from client.data.kinds.note import NoteKind
from client.data.kinds.record import RecordKind
from client.data.kinds.sequence import SequenceKind

KINDS: Mapping[str, type[DataKind[Any, Any, Any, Any]]] = {
    "image": ImageKind,
    "record": RecordKind,
    "sequence": SequenceKind,
    "note": NoteKind,  # the last to be opened: it asks of the others who the patients are
}
