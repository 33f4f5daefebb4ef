"""Notes: free text of a patient, as tokens."""

from __future__ import annotations

from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from common.modalities.modality import RowLayout, WithoutColumns
from common.schema import schema
from common.value_types import Count

if TYPE_CHECKING:  # a connector, that only carries plans, has no PyTorch
    from common.layers.encoder import Encoder


@schema
class NoteEncoder:
    """`config`: a small BERT made here; `folder`: a pretrained model from the site's models folder, by its name."""

    source: Literal["config", "folder"] = "config"
    folder: str | None = None
    tokenizer: Literal["byte", "hash"] = "hash"
    vocabulary: Annotated[int, Field(ge=16)] = 2048  # buckets of the hash tokenizer
    width: Count = 32
    layers: Annotated[int, Field(ge=0)] = 1  # 0: token embeddings and their mean
    heads: Count = 2
    train: Literal["all", "none"] = "all"  # none: frozen, only the projection learns

    def __post_init__(self) -> None:
        if (self.source == "folder") != (self.folder is not None):
            raise ValueError("folder: NAME goes with source: folder, and only with it")
        if self.width % self.heads:
            raise ValueError("width must be a multiple of heads")


@schema
class NoteModality(WithoutColumns):
    """Free text, de-identified, as at most `max_tokens` tokens."""

    kind: Literal["note"]
    max_tokens: Annotated[int, Field(ge=4, le=512)] = 64
    encoder: NoteEncoder = field(default_factory=NoteEncoder)

    @property
    def layout(self) -> RowLayout:
        return RowLayout((self.max_tokens,), "int32", "int64")

    @property
    def recipe(self) -> object:
        encoder = self.encoder
        return ["note", self.max_tokens, encoder.source, encoder.folder, encoder.tokenizer, encoder.vocabulary]

    @property
    def membership(self) -> object:
        return ["note"]

    def network(self, width: int | None, models: Path | None) -> Encoder:
        from common.modalities.note_encoder import NoteTokens

        assert width is not None
        return NoteTokens(self, width, models)

    def without_file(self) -> Self:
        return replace(self, encoder=NoteEncoder()) if self.encoder.source == "folder" else self

    @property
    def described(self) -> str:
        return f"notes with identifiers taken out, the first {self.max_tokens} tokens"
