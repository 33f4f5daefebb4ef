"""Modalities: what of a patient a model sees. Each kind is one file of this package, and one line in `Modality`.

See `modality.Modality` for what a kind can say of itself.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from common.modalities.image import ImageModality
from common.modalities.note import NoteModality
from common.modalities.record import RecordModality
from common.modalities.sequence import SequenceModality

__all__ = ["Modality"]

Modality = Annotated[
    ImageModality  # a line each
    | RecordModality
    | NoteModality
    | SequenceModality,
    Field(discriminator="kind"),
]
