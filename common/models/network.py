"""One network from a study: an encoder for each modality, fusion, head."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.errors import RunError, StudyError
from common.fusions import build_fusion
from common.fusions.mean import MeanFusion
from common.layers.encoder import ColumnEncoder, Encoder
from common.study import Study
from common.tasks.part import IMAGE_OF


class MultimodalNetwork(nn.Module):
    """inputs, by modality, and `present` (B, M) -> outputs as the task has them: of a binary one logits (B, 1).

    Every encoder sees every row, and where a modality is absent its tokens are replaced by zeros: so each row's
    logits depend on that row alone, and an absent modality's encoder gets a gradient of exactly zero. Nothing in it
    is random. Parameters named `encoders.<modality>.` are that modality's group, all others are `shared`.

    sees: the modality whose maps of features the head is given beside the fused vector; None: no head asks for any
    used: bool (M,), the modalities that were trained; any other is absent in every row, whatever `present` says. It is
    in the state_dict, so that a saved model reads no encoder that stands where it began.
    """

    used: Tensor

    def __init__(
        self, encoders: Mapping[str, Encoder], fusion: nn.Module, head: nn.Module, sees: str | None = None
    ) -> None:
        super().__init__()
        self.names, self.sees = tuple(encoders), sees
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.head = head
        self.register_buffer("used", torch.ones(len(self.names), dtype=torch.bool))

    def forward(self, inputs: dict[str, Tensor], present: Tensor) -> Tensor:
        present = present & self.used
        tokens, maps = [], list[Tensor]()
        for column, name in enumerate(self.names):
            if name == self.sees:
                encoded, made = cast(Encoder, self.encoders[name]).with_maps(inputs[name])
                maps = [torch.where(present[:, column, None, None, None], one, 0.0) for one in made]
            else:
                encoded = self.encoders[name](inputs[name])
            # where and not a product: 0 times a value that is not finite would not be 0
            tokens.append(torch.where(present[:, column, None, None], encoded, 0.0))
        fused = self.fusion(tokens, present)
        output: Tensor = self.head(fused) if self.sees is None else self.head(fused, tuple(maps))
        return output


def build_network(study: Study, *, models: Path | None = None) -> MultimodalNetwork:
    """The study's network. One study gives the same weights everywhere: they come from its seed alone.

    A study of one record (or sequence) with `hidden: []`, fusion `mean` and no hidden head layer is a linear map of
    its standardised columns, and no more: logistic regression, which starts from zero.

    models: this site's folder of pretrained models, if the study names any.
    Raises StudyError for what the study asks and cannot be, SiteFileError for what is not as it should be in `models`.
    """
    _require_images(study)
    linear = _is_linear(study)
    encoders = {name: _encoder(study, name, linear, models) for name in study.names}
    with _seeded(study.seed, "fusion"):
        fusion = MeanFusion() if linear else build_fusion(study.fusion, [part.tokens for part in encoders.values()])
    with _seeded(study.seed, "head"):
        head = _head(study, encoders, linear)
    return MultimodalNetwork(encoders, fusion, head, study.task.sees)


def use_modalities(network: MultimodalNetwork, names: Collection[str]) -> None:
    """Let the network see these modalities alone; the others are absent in every row from here on."""
    network.used.copy_(torch.tensor([name in names for name in network.names]))


def set_normaliser(
    network: MultimodalNetwork, normaliser: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> None:
    """Give the encoders secure-summed statistics: modality -> (mean, sd) of its numeric columns, or of its genes.

    A modality that it does not name has the study's own again, whatever was set before.
    Raises RunError for a modality without numbers, for wrong lengths and for what is not finite.
    """
    own = {name: part.standardise for name, part in network.encoders.items() if isinstance(part, ColumnEncoder)}
    for standardise in own.values():
        standardise.reset()
    for name, (mean, sd) in normaliser.items():
        if name not in own:
            raise RunError(f"The normaliser names {name}, which is no record and no sequence of this study.")
        own[name].set(mean, sd)


def _require_images(study: Study) -> None:
    for part in study.task.parts:
        wanted, name = IMAGE_OF.get(part.kind), part.beside or ""
        if wanted and (name not in study.modalities or study.modalities[name].kind != wanted):
            raise StudyError(f"task: {part.name} is beside {name}, which is no {wanted} of the study.")


def _is_linear(study: Study) -> bool:
    first, *more = study.modalities.values()
    return not more and study.fusion.kind == "mean" and not study.fusion.hidden and first.is_linear


def _encoder(study: Study, name: str, linear: bool, models: Path | None) -> Encoder:
    if hasattr(nn.ModuleDict(), name):
        raise StudyError(f"modalities.{name}: torch needs this name for itself. Call the modality something else.")
    try:
        with _seeded(study.seed, f"encoders/{name}"):
            return study.modalities[name].network(None if linear else study.fusion.width, models)
    except StudyError as problem:
        raise StudyError(f"modalities.{name}: {problem}") from None


def _head(study: Study, encoders: Mapping[str, Encoder], linear: bool) -> nn.Module:
    width, sees = next(iter(encoders.values())).width, study.task.sees
    if sees is not None and sees not in encoders:
        raise StudyError(f"task: sees the modality {sees}, which is none of the study.")
    maps = encoders[sees].map_shapes if sees is not None else ()
    if sees is not None and not maps:
        raise StudyError(f"modalities.{sees}: the task sees its maps of features, and its encoder has none.")
    head = study.task.head(width, study.fusion.hidden, maps)
    if linear:
        for part in head.parameters():
            nn.init.zeros_(part)
    return head


_building = threading.Lock()


@contextmanager
def _seeded(seed: int, part: str) -> Iterator[None]:
    """Draw one part's weights from a stream of its own, so that another modality in the study does not change them.

    torch's layers draw from its global CPU generator, which is put back afterwards. One thread at a time: simulated
    sites build their networks side by side.
    """
    stream = hashlib.sha256(f"wardround weights/{seed}/{part}".encode()).digest()
    with _building, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(stream[:4], "big"))
        yield
