"""The encoder of notes: token embeddings and their mean, a small BERT made here, or a pretrained one from a folder."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import SiteFileError, StudyError
from common.installation import check_torch_and_torchvision
from common.layers.encoder import Encoder
from common.modalities.note import NoteEncoder, NoteModality
from common.modalities.tokenizers import PADDING, pretrained_folder, tokenizer_for

# Files of a pretrained model's folder that decide, beside its weights, what is computed of a text.
_DECIDES = frozenset(
    f"{name}.json"
    for name in ("config", "tokenizer", "tokenizer_config", "special_tokens_map", "added_tokens", "vocab")
)
_CHANGES_NOTHING = frozenset(
    ("_name_or_path", "name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
)


class NoteTokens(Encoder):
    """(B, max_tokens) token ids -> (B, 1, width): the mean over all that is not padding, projected.

    A note of padding alone has mean zero. With `train: none` the language model is frozen and only the projection
    learns.
    """

    tokens = 1

    def __init__(self, modality: NoteModality, width: int, models: Path | None = None) -> None:
        super().__init__()
        self.width = width
        self.language: nn.Module = _language(modality, models)
        self.pretrained = _digest_of(modality, models, self.language)
        self.project = nn.Linear(_width(self.language), width)
        self.frozen = modality.encoder.train == "none"
        if self.frozen:
            self.language.requires_grad_(False)

    def forward(self, ids: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states: Tensor = self.language(ids)
        keep = (ids != PADDING).unsqueeze(2)
        mean = torch.where(keep, states, 0.0).sum(dim=1) / keep.sum(dim=1).clamp(min=1)
        token: Tensor = self.project(mean)
        return token.unsqueeze(1)


class Transformer(nn.Module):
    """A transformers encoder as a plain function of ids: (B, L) -> (B, L, hidden).

    Opacus needs batch-first, contiguous tensors at every layer: position and token type ids are given for each row,
    where the library would broadcast one row of them.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.hidden = int(model.config.hidden_size)  # type: ignore[union-attr,arg-type]  # transformers is untyped
        self.asked = frozenset(inspect.signature(model.forward).parameters)

    def forward(self, ids: Tensor) -> Tensor:
        if len(ids) == 0:  # its reshapes cannot take no rows: take one of padding, and give none of it
            return self.forward(ids.new_zeros(1, ids.shape[1]))[:0]
        states: Tensor = self.model(**self._arguments(ids)).last_hidden_state
        return states

    def _arguments(self, ids: Tensor) -> dict[str, Tensor]:
        positions = torch.arange(ids.shape[1], device=ids.device)
        # Attention over nothing is not defined everywhere: the first token is always looked at, and pooled if real.
        keep = (ids != PADDING) | (positions == 0)
        given = {"attention_mask": keep.to(ids.dtype)}
        if "position_ids" in self.asked:
            given["position_ids"] = positions.repeat(len(ids), 1)
        if "token_type_ids" in self.asked:
            given["token_type_ids"] = torch.zeros_like(ids)
        return {"input_ids": ids, **given}


def _language(modality: NoteModality, models: Path | None) -> nn.Module:
    encoder = modality.encoder
    if encoder.source == "folder" or encoder.layers:
        check_torch_and_torchvision()  # transformers loads torchvision, and hides why it could not
    if encoder.source == "folder":
        folder = pretrained_folder(encoder, models)
        return _encoder_of(_pretrained(folder, modality.max_tokens), folder, modality.max_tokens)
    vocabulary = tokenizer_for(encoder, models).size
    if encoder.layers == 0:
        return nn.Embedding(vocabulary, encoder.width)
    return Transformer(_small_bert(encoder, vocabulary, modality.max_tokens))


def _digest_of(modality: NoteModality, models: Path | None, language: nn.Module) -> str:
    """Return the SHA-256, in hex, of a pretrained model as it was loaded, of what its folder says of how it computes,
    and of its tokenizer's files; "" for others.

    Frozen weights are not exchanged: sites that load others compute something else from the same plan, and so do those
    whose config.json has another activation, or another number of heads.
    """
    if modality.encoder.source != "folder":
        return ""
    content = hashlib.sha256()
    for name, tensor in sorted(language.state_dict().items()):
        content.update(f"{name} {tuple(tensor.shape)}\0".encode())
        content.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    folder = pretrained_folder(modality.encoder, models)
    for path in sorted(folder.iterdir()):
        if path.suffix in (".txt", ".model") or path.name in _DECIDES:
            said = _said(path)
            content.update(f"{path.name} {len(said)}\0".encode() + said)
    return content.hexdigest()


def _said(path: Path) -> bytes:
    """Return what a file of a model's folder says: of JSON the content, in one order, and of a configuration without
    names and versions. A folder that another release of transformers saved anew has more keys, and is another one:
    sites copy one folder.
    """
    content = path.read_bytes()
    if path.suffix != ".json":
        return content
    try:
        told = json.loads(content)
    except ValueError:
        return content
    if path.name.endswith("config.json") and isinstance(told, dict):
        told = {name: value for name, value in told.items() if name not in _CHANGES_NOTHING}
    return json.dumps(told, sort_keys=True).encode()


def _encoder_of(model: nn.Module, folder: Path, length: int) -> Transformer:
    """Return the model as a function of token ids, as two made-up texts of that many tokens show.

    Layers that keep running ranges (I-BERT's), or that draw at random, would let one patient change what is computed
    of another, and outlast the round: no privacy account has that. StudyError for such a model; SiteFileError for one
    that reads no such text.
    """
    try:
        found = Transformer(model)
        alike = _is_function(found, length)
    except Exception as problem:  # each family of models fails in its own way
        raise SiteFileError(
            f"{folder}: {type(model).__name__} cannot read a text of {length} tokens ({type(problem).__name__}). "
            "Choose a model that gives a state for each token of a text, as BERT does."
        ) from None
    if not alike:
        raise StudyError(
            f"{folder.name}: a text's numbers hang on what this model has read before, or on chance "
            f"({type(model).__name__}). No patient may change another's numbers: choose another model."
        )
    return found


def _is_function(language: Transformer, length: int) -> bool:
    """Whether a text comes out the same whatever was read before, in training or in scoring, and no buffer changes.

    It takes as long as reading three texts of a patient does: shorter ones change how some models read (BigBird).
    """
    words = int(language.model.config.vocab_size)  # type: ignore[union-attr,arg-type]  # transformers is untyped
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randint(words, (2, 1, length), generator=generator)
    kept = [buffer.clone() for buffer in language.buffers()]
    read = []
    with torch.no_grad():
        for text, trains in ((one, True), (two, False), (one, True)):
            language.train(trains)
            read.append(language(text))
    now = list(language.buffers())
    if read[0].shape[:2] != one.shape or len(now) != len(kept) or not all(map(torch.equal, kept, now)):
        return False
    return torch.allclose(read[0], read[2], rtol=1e-5, atol=1e-6, equal_nan=True)


def _width(language: nn.Module) -> int:
    return language.embedding_dim if isinstance(language, nn.Embedding) else int(language.hidden)  # type: ignore[arg-type]


def _small_bert(encoder: NoteEncoder, vocabulary: int, max_tokens: int) -> nn.Module:
    """BERT (Devlin et al. 2019) with random weights. No dropout: the network is a function of its inputs alone."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=encoder.width,
        num_hidden_layers=encoder.layers,
        num_attention_heads=encoder.heads,
        intermediate_size=4 * encoder.width,
        max_position_embeddings=max_tokens,
        type_vocab_size=1,
        pad_token_id=PADDING,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model: nn.Module = BertModel(config, add_pooling_layer=False)
    return model


def _pretrained(folder: Path, max_tokens: int) -> nn.Module:
    """The model in `folder`, without dropout and pooler. Nothing is downloaded, and no code in the folder is run."""
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(folder), **options)
        for name, value in vars(config).items():
            if "drop" in name and isinstance(value, float):
                setattr(config, name, 0.0)
        model: nn.Module = AutoModel.from_pretrained(str(folder), config=config, dtype=torch.float32, **options)
    except Exception as problem:
        raise SiteFileError(
            f"{folder}: its model cannot be loaded ({type(problem).__name__}). "
            "The folder needs config.json and the weights, as the model's publisher packs them."
        ) from None
    limit = int(getattr(config, "max_position_embeddings", max_tokens))
    if 0 < limit < max_tokens:  # XLNet writes -1 for as many as one likes
        raise StudyError(f"max_tokens: {max_tokens}, but {folder.name} takes at most {limit}. Set {limit} or less.")
    if hasattr(model, "pooler"):
        setattr(model, "pooler", None)  # noqa: B010 (mypy knows only tensors there); unused, and parameters without a gradient would break the clipping
    return model
