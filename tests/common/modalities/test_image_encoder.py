"""Image encoders: torchvision's networks by name, clipped patient by patient, and weights from a file."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from common.errors import SiteFileError, StudyError
from common.layers.clippable import unhookable
from common.layers.norm import group_norm, replace_batch_norm
from common.layers.rowwise import open_transformers
from common.modalities.backbone import Backbone
from common.modalities.image import ImageEncoder, ImageModality
from common.modalities.image_encoder import ImageTokens
from common.models.network import build_network
from tests.support.gradients import by_autograd, by_hooks, difference
from tests.support.tiny import study_of


def encoder(backbone: str, *, size: int = 32, slices: int = 1, models: Path | None = None, weights: str | None = None):
    torch.manual_seed(0)
    asked = ImageEncoder(backbone=backbone, weights=weights)
    return ImageTokens(ImageModality(kind="image", size=size, slices=slices, encoder=asked), 4, models)


def images(rows: int, *, size: int = 32, slices: int = 1) -> torch.Tensor:
    return torch.rand(rows, slices, size, size, generator=torch.Generator().manual_seed(5))


def loss_over(pixels: torch.Tensor):
    return lambda network, rows: network(pixels[rows]).square().sum()


class InPlace(TorchDispatchMode):
    """Writes down every operation that changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name.endswith("_"):
            self.found.add(func._schema.name)
        return func(*args, **(kwargs or {}))


# In torchvision: a residual sum in place, activations in place by function, by module, residual sums behind both,
# and a layer scale that is a bare parameter behind a permuted tensor.
AWKWARD = ("resnet18", "densenet121", "efficientnet_b0", "mobilenet_v3_small", "convnext_tiny")


@pytest.mark.parametrize(
    "backbone",
    [*AWKWARD[:-1], pytest.param(AWKWARD[-1], marks=pytest.mark.soak)],  # whose step is twice as dear as the others'
)
def test_torchvisions_networks_give_each_rows_own_gradient(backbone: str) -> None:
    network = encoder(backbone).train().double()  # a hundred layers in float32 differ by 4e-4 on some CPUs
    loss = loss_over(images(2).double())
    assert difference(by_autograd(network, loss, 2), by_hooks(network, loss, 2)) < 1e-9
    assert unhookable(network) == []


@pytest.mark.parametrize("backbone", ["resnet18", "densenet121", "efficientnet_b0", "googlenet", "small_cnn"])
def test_nothing_is_done_in_place(backbone: str) -> None:
    network = encoder(backbone, size=64).train()
    with InPlace() as watched:
        network(images(2, size=64))
    assert watched.found == set()


@pytest.mark.parametrize("backbone", ["small_cnn", "resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_each_image_is_seen_by_itself(backbone: str) -> None:
    network = encoder(backbone, size=64, slices=2).train()
    pixels = images(4, size=64, slices=2)
    together = network(pixels)
    assert together.shape == (4, network.tokens, 4)
    assert torch.allclose(together[[2]], network(pixels[[2]]), atol=1e-4)
    assert network(pixels[:0]).shape == (0, network.tokens, 4)
    assert torch.equal(together, network(pixels)), "in training, too, nothing is random"
    assert not torch.allclose(together[0], together[1])


def test_stacks_that_lie_otherwise_in_memory_give_the_same_gradient() -> None:
    """Opacus reads a convolution's input as contiguous memory; a permuted image must not mislead it."""
    network = encoder("small_cnn").train()
    loss = loss_over(images(3).to(memory_format=torch.channels_last))
    other = loss_over(images(3, slices=1).permute(0, 1, 3, 2))
    assert difference(by_autograd(network, loss, 3), by_hooks(network, loss, 3)) < 1e-4
    assert difference(by_autograd(network, other, 3), by_hooks(network, other, 3)) < 1e-4


def test_a_vision_transformer_computes_the_same_once_it_is_opened() -> None:
    """torchvision's own class, small: bare parameters and bundled attention are replaced and nothing else changes."""
    torch.manual_seed(0)
    plain = torchvision.models.VisionTransformer(16, 8, 2, 2, 12, 24, num_classes=3)
    nn.init.normal_(plain.heads[0].weight)
    pixels = torch.rand(3, 3, 16, 16)
    expected = plain(pixels)
    assert unhookable(plain)
    open_transformers(plain)
    assert unhookable(plain) == []
    assert torch.allclose(plain(pixels), expected, atol=1e-5)
    loss = loss_over(pixels)
    assert difference(by_autograd(plain, loss, 3), by_hooks(plain, loss, 3)) < 1e-4


def test_what_hooks_cannot_serve_is_named_and_still_builds() -> None:
    network = encoder("swin_t", size=32)
    assert any("attn" in name for name in unhookable(network))
    assert network(images(2)).shape == (2, 1, 4)


def test_batch_norm_is_named_wherever_it_is() -> None:
    assert unhookable(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))) == ["1"]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 16, 24, 40, 96, 116, 512, 2048])
def test_groups_divide_the_channels_and_are_not_single_channels(channels: int) -> None:
    norm = group_norm(channels)
    assert channels % norm.num_groups == 0
    assert norm.num_groups <= 32
    assert channels // norm.num_groups >= min(4, channels) or norm.num_groups == 1
    if channels > 1:
        values = torch.arange(2.0 * channels).view(2, channels, 1, 1).sin()
        assert not torch.allclose(norm(values)[0], norm(values)[1]), "one pixel must not be normalised away"


def test_batch_norm_keeps_its_scale_and_shift() -> None:
    network = nn.Sequential(nn.BatchNorm2d(8))
    nn.init.normal_(network[0].weight)
    scale = network[0].weight.detach().clone()
    replace_batch_norm(network)
    assert isinstance(network[0], nn.GroupNorm)
    assert torch.equal(network[0].weight, scale)


@pytest.mark.parametrize(
    ("backbone", "size", "says"),
    [
        ("resnet81", 32, r"modalities\.scan: .*'resnet81'.*Near it: .*resnet18"),
        ("alexnet", 16, r"modalities\.scan: .*alexnet cannot take images of size 16"),
        ("vit_b_16", 30, r"modalities\.scan: .*vit_b_16 cannot take images of size 30"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused_in_words(backbone: str, size: int, says: str) -> None:
    scan = {"kind": "image", "size": size, "encoder": {"backbone": backbone}}
    with pytest.raises(StudyError, match=says) as caught:
        build_network(study_of(modalities={"scan": scan}))
    assert caught.value.__suppress_context__


# ----------------------------------------------------------------------------------------------- pretrained weights


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with torchvision's own file of one backbone: three colours, BatchNorm, a head of 1000 classes."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(7)
    published = torchvision.models.mobilenet_v3_small()
    for module in published.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
    torch.save(published.state_dict(), folder / "published.pth")
    return folder


@pytest.mark.parametrize("slices", [1, 3, 5])
def test_published_weights_are_taken_with_their_first_layer_for_any_number_of_slices(models: Path, slices: int) -> None:
    published = torch.load(models / "published.pth", weights_only=True)
    network = encoder("mobilenet_v3_small", slices=slices, models=models, weights="published.pth")
    backbone = network.backbone
    assert isinstance(backbone, Backbone)
    own = dict(backbone.model.named_parameters())
    for name, value in own.items():
        if name != "features.0.0.weight":
            assert torch.equal(value, published[name]), name
    grey = torch.rand(1, 1, 32, 32)
    first = nn.functional.conv2d(grey.repeat(1, 3, 1, 1), published["features.0.0.weight"], stride=2, padding=1)
    assert torch.allclose(backbone.model.features[0][0](grey.repeat(1, slices, 1, 1)), first, atol=1e-5)


def test_weights_that_already_have_the_studys_channels_are_taken_as_they_are(models: Path) -> None:
    state = torch.load(models / "published.pth", weights_only=True)
    state = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    state["features.0.0.weight"] = state["features.0.0.weight"][:, :2].clone()
    torch.save(state, models / "two.pth")
    network = encoder("mobilenet_v3_small", slices=2, models=models, weights="two.pth")
    assert torch.equal(network.backbone.model.features[0][0].weight, state["features.0.0.weight"])


def test_weights_that_do_not_fit_are_refused_by_name(models: Path) -> None:
    state = torch.load(models / "published.pth", weights_only=True)
    state["features.1.block.0.0.weight"] = torch.zeros(3, 3)
    torch.save(state, models / "crooked.pth")
    torch.save([1, 2], models / "list.pth")
    (models / "text.pth").write_text("hello")
    for backbone, file, says in [
        ("mobilenet_v3_small", "crooked.pth", r"crooked\.pth: .*features\.1\.block\.0\.0\.weight is \[3, 3\]"),
        ("resnet18", "published.pth", r"published\.pth: does not fit.*conv1\.weight is missing.* more"),
        ("mobilenet_v3_small", "absent.pth", r"absent\.pth: no such file"),
        ("mobilenet_v3_small", "list.pth", r"list\.pth: holds something else"),
        ("mobilenet_v3_small", "text.pth", r"text\.pth: cannot be read as a state_dict"),
    ]:
        with pytest.raises(SiteFileError, match=says) as caught:
            encoder(backbone, models=models, weights=file)
        assert caught.value.__cause__ is None


def test_a_study_cannot_reach_out_of_the_models_folder(models: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.pth"
    torch.save({}, outside)
    for weights in (str(outside), os.path.relpath(outside, models), "."):
        with pytest.raises(SiteFileError, match=r"points out of this folder"):
            encoder("mobilenet_v3_small", models=models, weights=weights)
    with pytest.raises(SiteFileError, match="models: "):
        encoder("mobilenet_v3_small", weights="published.pth")


class Bomb:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_weights_file_runs_no_code(models: Path, tmp_path: Path) -> None:
    torch.save({"conv1.weight": Bomb(tmp_path / "boom")}, models / "bomb.pth")
    with pytest.raises(SiteFileError, match=r"bomb\.pth: cannot be read"):
        encoder("resnet18", models=models, weights="bomb.pth")
    assert not (tmp_path / "boom").exists()


def test_small_cnn_stays_small() -> None:
    network = encoder("small_cnn")
    assert sum(math.prod(p.shape) for p in network.parameters()) < 30_000
