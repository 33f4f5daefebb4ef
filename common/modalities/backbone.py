"""Any torchvision classification network as a feature extractor that can be clipped patient by patient."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import SiteFileError, StudyError
from common.installation import check_torch_and_torchvision
from common.layers.norm import replace_batch_norm
from common.layers.out_of_place import run_out_of_place
from common.layers.rowwise import open_transformers
from common.modalities.image import ImageModality

_HEADS = ("fc", "classifier", "head", "heads")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Backbone(nn.Module):
    """(B, slices, size, size) -> (B, features, 1), out of place."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        features = run_out_of_place(self.model, images)
        if features.dim() == 4:
            features = features.mean(dim=(2, 3))
        return features.unsqueeze(2)


def torchvision_backbone(modality: ImageModality, models: Path | None) -> tuple[nn.Module, int]:
    """The network that the study names, and how many features it gives.

    Its classifier is taken off, its first convolution takes `slices` channels, BatchNorm becomes GroupNorm (a
    pretrained network then needs some training to find its balance again), and nothing in it is random.
    """
    name = modality.encoder.backbone
    model = _torchvision_model(name, modality.size)
    head = _take_off_head(model)
    if modality.encoder.weights is not None:
        _load(model, _weights_file(modality.encoder.weights, models), head, modality.slices)
    _take_slices(model, modality.slices)
    replace_batch_norm(model)
    open_transformers(model)
    _settle(model)
    backbone = Backbone(model)
    return backbone, _features(backbone, modality)


def _torchvision_model(name: str, size: int) -> nn.Module:
    check_torch_and_torchvision()
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, ["small_cnn", *known], n=4, cutoff=0.4)
        hint = f" Near it: {', '.join(near)}." if near else ""
        raise StudyError(f"backbone: torchvision has no classification network {name!r}.{hint} Or take small_cnn.")
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=None, **_options(name, size))
    except (ValueError, AssertionError):
        raise _wrong_size(name, size) from None
    return model


def _options(name: str, size: int) -> dict[str, Any]:
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit_"):
        return {"input_size": (size, size)}
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    return {}


def _take_off_head(model: nn.Module) -> str:
    """Replace the classifier by nothing (or by a pooling, if it was one); its name."""
    name = next(name for name in _HEADS if hasattr(model, name))
    convolutional = any(isinstance(part, nn.Conv2d) for part in getattr(model, name).modules())
    setattr(model, name, nn.AdaptiveAvgPool2d(1) if convolutional else nn.Identity())
    return name


def _take_slices(model: nn.Module, slices: int) -> None:
    """Let the first convolution take `slices` channels. Equal slices give what three equal colours gave."""
    name, old = _first_convolution(model)
    if old.in_channels == slices:
        return
    new = nn.Conv2d(
        slices,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]  # torch says tuple[int, ...] here and wants pairs there
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(dim=1, keepdim=True) / slices)
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)


def _first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))


def _settle(model: nn.Module) -> None:
    """Switch off what is random or in place: the network is a function of its inputs alone, row by row."""
    for module in model.modules():
        if hasattr(module, "inplace"):
            vars(module)["inplace"] = False
        if type(module).__name__ in ("Dropout", "StochasticDepth"):
            vars(module)["p"] = 0.0


def _features(backbone: nn.Module, modality: ImageModality) -> int:
    """The width of the features, found by running zeros through it."""
    try:
        with torch.no_grad():
            found = backbone(torch.zeros(1, modality.slices, modality.size, modality.size))
    except (RuntimeError, ValueError, AssertionError):
        raise _wrong_size(modality.encoder.backbone, modality.size) from None
    return int(found.shape[1])


def _wrong_size(name: str, size: int) -> StudyError:
    return StudyError(f"backbone: {name} cannot take images of size {size}. Set size: 224, or choose another backbone.")


# ------------------------------------------------------------------------------------------------ pretrained weights


def _weights_file(weights: str, models: Path | None) -> Path:
    """Where the file lies. The study, which comes from outside, may name no path upwards."""
    if models is None:
        raise SiteFileError("models: the study names pretrained image weights; set the key in site.yaml.")
    path = (models / weights).resolve()
    if models.resolve() not in path.parents:
        raise SiteFileError(f"{models}: the study's encoder.weights points out of this folder; refuse the study.")
    if not path.is_file():
        raise SiteFileError(f"{path}: no such file. Put the state_dict there that the study names in encoder.weights.")
    return path


def _load(model: nn.Module, path: Path, head: str, slices: int) -> None:
    """Load torchvision's own state_dict, with its head or without, for three channels or for `slices`."""
    state = {name: value for name, value in _read_state(path).items() if not name.startswith(f"{head}.")}
    first = f"{_first_convolution(model)[0]}.weight"
    if first in state and state[first].dim() == 4 and state[first].shape[1] == slices:
        _take_slices(model, slices)
    own = model.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in state and not name.endswith(_STATISTICS)]
    wrong += [f"{name} is not of this backbone" for name in state if name not in own]
    wrong += [
        f"{name} is {list(state[name].shape)} and should be {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise SiteFileError(
            f"{path}: does not fit the study's backbone: {'; '.join(wrong[:3])}{more}. "
            "Take the file that belongs to it, or correct encoder.backbone."
        )
    model.load_state_dict(state, strict=False)


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise SiteFileError(
            f"{path}: cannot be read as a state_dict ({type(problem).__name__}). Save it with torch.save."
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SiteFileError(f"{path}: holds something else than a state_dict. Save model.state_dict() with torch.save.")
    return state
