"""From text to token ids. No vocabulary is ever learned from patients' notes: both tokenizers are fixed functions."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any, ClassVar, Protocol

from common.errors import SiteFileError
from common.modalities.note import NoteEncoder

PADDING = 0
START = 1

# A kind token of the de-identification gate ([NAME], [DATE]) is one word; else runs of letters and digits, or a sign.
_WORD = re.compile(r"\[[a-z]+\]|\w+|[^\w\s]")


class Tokenizer(Protocol):
    """`size`: ids are in [0, size). `encode` gives exactly `max_tokens` ids, 0 where the text has ended."""

    @property
    def size(self) -> int: ...

    def encode(self, text: str, max_tokens: int) -> list[int]: ...


class ByteTokenizer:
    """UTF-8 bytes: 0 padding, 1 start, 2 + byte."""

    size: ClassVar[int] = 2 + 256

    def encode(self, text: str, max_tokens: int) -> list[int]:
        ids = [START, *(2 + byte for byte in text.encode("utf-8", "replace"))]
        return _fit(ids, max_tokens)


class HashTokenizer:
    """Lowercased words, each in one of `vocabulary` - 2 buckets by CRC-32: 0 padding, 1 start, 2 + bucket.

    CRC-32 and not Python's `hash`, which differs from process to process: every site must agree.
    """

    def __init__(self, vocabulary: int) -> None:
        self.size = vocabulary

    def encode(self, text: str, max_tokens: int) -> list[int]:
        words = _WORD.findall(text.lower())[:max_tokens]
        ids = [START, *(2 + zlib.crc32(word.encode("utf-8", "replace")) % (self.size - 2) for word in words)]
        return _fit(ids, max_tokens)


class PretrainedTokenizer:
    """The tokenizer that lies in a pretrained model's folder. Nothing is downloaded and none of its code is run."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = _pretrained(folder)
        self.size = len(self._tokenizer)
        if self._tokenizer.pad_token_id != PADDING:
            raise SiteFileError(
                f"{folder}: this model's tokenizer does not pad with id 0, which is what a study's notes are padded "
                "with. Choose a model of the BERT family for the study's encoder.folder."
            )

    def encode(self, text: str, max_tokens: int) -> list[int]:
        ids: list[int] = self._tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
        return _fit(ids, max_tokens)


def tokenizer_for(encoder: NoteEncoder, models: Path | None) -> Tokenizer:
    """The tokenizer that the study names; `models` is the site's folder of pretrained models.

    Raises SiteFileError where the folder is missing, unusable, or would lie outside `models`.
    """
    if encoder.source == "folder":
        return PretrainedTokenizer(pretrained_folder(encoder, models))
    return ByteTokenizer() if encoder.tokenizer == "byte" else HashTokenizer(encoder.vocabulary)


def pretrained_folder(encoder: NoteEncoder, models: Path | None) -> Path:
    """Where the encoder's pretrained model lies. The study, which comes from outside, may name no path upwards."""
    if models is None or encoder.folder is None:
        raise SiteFileError("models: the study names a pretrained note encoder; set the key in site.yaml.")
    folder = (models / encoder.folder).resolve()
    if models.resolve() not in folder.parents:
        raise SiteFileError(f"{models}: the study's encoder.folder points out of this folder; refuse the study.")
    if not folder.is_dir():
        raise SiteFileError(f"{folder}: no such folder. Put the pretrained model there, as its publisher packs it.")
    return folder


def _pretrained(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as problem:
        raise SiteFileError(
            f"{folder}: its tokenizer cannot be loaded ({type(problem).__name__}). "
            "The folder needs the model's tokenizer files beside its config.json."
        ) from None


def _fit(ids: list[int], length: int) -> list[int]:
    return ids[:length] + [PADDING] * (length - len(ids))
