"""The clipped sum: both backends against each other and against a sum made by hand, for all that a study can build."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from client.training.clipped_sum import Backend, choose_backend, clipped_sum, clipper
from client.training.hooks import OpacusClipper
from common.errors import PrivacyError
from common.models.batch import Batch
from common.models.network import MultimodalNetwork, build_network
from common.scores import loss_rows
from common.study import Study
from tests.support.tiny import MODALITIES, cases_of, study_of

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")
BACKENDS: list[Backend] = ["loop", "opacus"]
FUSIONS = ["mean", "weighted", "product", "concat", "attention"]
THREE = {"kind": "multiclass", "classes": ["a", "b", "c"]}


def changed(name: str, **encoder: Any) -> dict[str, Any]:
    return {name: MODALITIES[name] | {"encoder": MODALITIES[name].get("encoder", {}) | encoder}}


STUDIES: dict[str, Study] = {
    **{f"all-{kind}": study_of(fusion={"kind": kind, "width": 8}) for kind in FUSIONS},
    **{name: study_of(name) for name in MODALITIES},
    "head": study_of(fusion={"kind": "attention", "width": 8, "hidden": 6, "layers": 2}),
    "classes": study_of(task=THREE, fusion={"kind": "concat", "width": 8}),
    "bag of words": study_of(modalities=changed("letter", layers=0)),
    "bytes": study_of(modalities=changed("letter", tokenizer="byte")),
    "frozen note": study_of(modalities={**changed("letter", train="none"), "chart": MODALITIES["chart"]}),
    "logistic regression": study_of(modalities=changed("chart", hidden=[])),
    "deep sequence": study_of(
        modalities=changed("panel", hidden=[8, 8], tokens=3), fusion={"kind": "attention", "width": 8}
    ),
    "slices": study_of(modalities={"scan": MODALITIES["scan"] | {"slices": 3}}),
}


def loss_of(study: Study) -> Any:
    return partial(loss_rows, study)


def by_hand(network: nn.Module, batch: Batch, study: Study, bound: float) -> Tensor:
    """Each row's gradient by its own backward, clipped and added in float64."""
    network.train()
    total = torch.zeros(sum(p.numel() for p in network.parameters() if p.requires_grad), dtype=torch.float64)
    for row in range(len(batch)):
        network.zero_grad()
        one = batch.rows([row])
        loss_rows(study, network(one.inputs, one.present), one.target).sum().backward()
        parts = [
            (torch.zeros_like(p) if p.grad is None else p.grad).flatten().double()
            for p in network.parameters()
            if p.requires_grad
        ]
        gradient = torch.cat(parts)
        total += gradient * min(1.0, bound / float(gradient.norm()))
    network.zero_grad()
    return total


def assert_close(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.double().norm())
    assert scale > 0
    assert float((found.double().cpu() - expected.double().cpu()).norm()) <= 1e-4 * scale


def median_norm(network: nn.Module, batch: Batch, study: Study) -> float:
    """A bound that clips about half of the rows, so that both branches are under test."""
    norms = [float(by_hand(network, batch.rows([row]), study, 1e9).norm()) for row in range(len(batch))]
    return sorted(norms)[len(norms) // 2]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STUDIES)
def test_every_encoder_and_fusion_gives_the_sum_made_by_hand(name: str, backend: Backend) -> None:
    study = STUDIES[name]
    network, batch = build_network(study), cases_of(study, 7, missing=0.3)
    for parameter in network.parameters():  # not the symmetric start, where parts of the gradient vanish
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    bound = median_norm(network, batch, study)
    found, count = clipped_sum(network, batch, loss_of(study), bound, backend)
    assert count == 7
    assert_close(found, by_hand(network, batch, study, bound))


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v3_small"])
def test_torchvision_backbones_give_the_same_sum_both_ways(backbone: str) -> None:
    study = study_of(modalities={"scan": MODALITIES["scan"] | {"size": 32, "encoder": {"backbone": backbone}}})
    network, batch = build_network(study), cases_of(study, 2, missing=0.0)
    one, _ = clipped_sum(network, batch, loss_of(study), 0.5, "loop")
    two, _ = clipped_sum(network, batch, loss_of(study), 0.5, choose_backend(network, "opacus"))
    assert_close(two, one)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nobody_gives_zeros(backend: Backend) -> None:
    study = STUDIES["all-attention"]
    network = build_network(study)
    found, count = clipped_sum(network, cases_of(study, 0), loss_of(study), 1.0, backend)
    assert count == 0
    assert found.shape == (sum(p.numel() for p in network.parameters()),)
    assert not found.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_patients_with_no_modality_at_all_are_finite(backend: Backend) -> None:
    study = STUDIES["all-attention"]
    found, _ = clipped_sum(build_network(study), cases_of(study, 3, missing=1.0), loss_of(study), 1.0, backend)
    assert torch.isfinite(found).all()


def poisoned(batch: Batch, row: int, value: float, *names: str) -> Batch:
    inputs = {name: tensor.clone() for name, tensor in batch.inputs.items()}
    present = batch.present.clone()
    for name in names:
        inputs[name][row] = value
    present[row] = True
    return Batch(inputs, present, batch.target)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38])
def test_one_patient_whose_gradient_is_not_finite_counts_as_nobody(backend: Backend, fusion: str, value: float) -> None:
    study = study_of("scan", "chart", "panel", fusion={"kind": fusion, "width": 8})
    network, batch = build_network(study), cases_of(study, 5)
    found, count = clipped_sum(network, poisoned(batch, 2, value, "scan", "panel"), loss_of(study), 0.5, backend)
    assert count == 5
    assert torch.isfinite(found).all()
    if value != 1e38:  # so large a number may still come through a normalisation, clipped like any other
        assert_close(found, clipped_sum(network, batch.rows([0, 1, 3, 4]), loss_of(study), 0.5, backend)[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_crafted_to_break_every_patient_give_zeros(backend: Backend) -> None:
    study = STUDIES["all-attention"]
    network = build_network(study)
    with torch.no_grad():
        network.head[0].weight.fill_(float("nan"))  # type: ignore[index]
    found, _ = clipped_sum(network, cases_of(study, 4), loss_of(study), 1.0, backend)
    assert not found.any()


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 6),
    bound=st.floats(1e-3, 50),
    scale=st.sampled_from([1e-3, 0.3, 1.0]),
)
def test_one_patient_moves_the_sum_by_at_most_the_bound(
    backend: Backend, seed: int, rows: int, bound: float, scale: float
) -> None:
    study = STUDIES["all-attention"]
    network, batch = build_network(study), cases_of(study, rows, seed=seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    out = seed % rows
    others = [row for row in range(rows) if row != out]
    everyone, _ = clipped_sum(network, batch, loss_of(study), bound, backend)
    without, _ = clipped_sum(network, batch.rows(others), loss_of(study), bound, backend)
    assert float((everyone.double() - without.double()).norm()) <= bound


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(2, 6),
    scale=st.sampled_from([1.0, 30.0, 1e4, 1e9]),
    bound=st.floats(1e-3, 50),
)
def test_alone_each_patient_is_as_good_as_alone_whatever_the_weights(
    seed: int, rows: int, scale: float, bound: float
) -> None:
    """Weights such as a hostile coordinator would send, where rounding decides everything."""
    study = STUDIES["all-attention"]
    network, batch = build_network(study), cases_of(study, rows, seed=seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    everyone, _ = clipped_sum(network, batch, loss_of(study), bound, "loop")
    one_by_one = [clipped_sum(network, batch.rows([row]), loss_of(study), bound, "loop")[0] for row in range(rows)]
    assert torch.allclose(everyone, torch.stack(one_by_one).sum(dim=0), rtol=0, atol=1e-12 * bound)
    assert all(float(single.norm()) <= bound for single in one_by_one)


def test_a_batch_in_parts_gives_the_same_sum() -> None:
    study = STUDIES["all-attention"]
    network, batch = build_network(study), cases_of(study, 7)
    whole = OpacusClipper(network, loss_of(study), rows=64).sum(batch, 0.3)
    for rows in (1, 3):
        other = copy.deepcopy(build_network(study))
        assert_close(OpacusClipper(other, loss_of(study), rows=rows).sum(batch, 0.3), whole)


def traces(network: nn.Module) -> list[str]:
    found = [name for parameter in network.parameters() for name in vars(parameter) if "grad_sample" in name]
    for module in network.modules():
        found += [name for name in ("activations", "max_batch_len") if hasattr(module, name)]
        found += ["hook" for _ in (*module._forward_hooks, *module._backward_hooks)]
    return found


def test_nothing_stays_on_the_network() -> None:
    study = STUDIES["all-attention"]
    network, batch = build_network(study), cases_of(study, 4)
    before = [parameter.clone() for parameter in network.parameters()]
    for backend in BACKENDS:
        clipped_sum(network, batch, loss_of(study), 1.0, backend)
        assert traces(network) == []
        assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_a_clipper_serves_many_steps_and_survives_a_failed_one() -> None:
    study = STUDIES["all-attention"]
    network, batch = build_network(study), cases_of(study, 5)
    made = clipper(network, loss_of(study), "opacus")
    first = made.sum(batch, 1.0)
    with pytest.raises(RuntimeError):
        made.sum(Batch({**batch.inputs, "panel": batch.inputs["panel"][:, :, :1]}, batch.present, batch.target), 1.0)
    assert torch.equal(made.sum(batch, 1.0), first)
    assert made.sum(batch.rows([]), 1.0).shape == first.shape
    assert torch.equal(made.sum(batch, 1.0), first)
    made.close()
    assert traces(network) == []


class Unreached(nn.Module):
    """A network with a layer that runs, and whose result the loss never sees, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.dropped, self.idle = nn.Linear(3, 1), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, inputs: dict[str, Tensor], present: Tensor) -> Tensor:
        self.dropped(inputs["x"])
        out: Tensor = self.used(inputs["x"])
        return out


@pytest.mark.parametrize("backend", BACKENDS)
def test_layers_that_the_loss_does_not_reach_get_zeros(backend: Backend) -> None:
    study = STUDIES["panel"]
    batch = Batch({"x": torch.randn(4, 3)}, torch.ones(4, 1, dtype=torch.bool), torch.tensor([0, 1, 1, 0]))
    made = clipper(Unreached(), loss_of(study), backend)
    for _ in range(2):
        found = made.sum(batch, 1.0)
        assert found[:4].any()
        assert found.shape == (4 + 8 + 8,)
        assert not found[4:].any()


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.two.weight = self.one.weight
        self.last = nn.Linear(3, 1)

    def forward(self, inputs: dict[str, Tensor], present: Tensor) -> Tensor:
        out: Tensor = self.last(self.two(torch.tanh(self.one(inputs["x"]))))
        return out


def test_what_hooks_would_get_wrong_is_looped_over_or_refused() -> None:
    network = Shared()
    assert choose_backend(network, "auto") == choose_backend(network, "opacus") == "loop"
    with pytest.raises(PrivacyError, match="clipping: loop"):
        clipper(network, loss_of(STUDIES["panel"]), "opacus")


def test_hooks_are_for_those_who_ask_for_them() -> None:
    for network in (build_network(STUDIES["panel"]), nn.Linear(1000, 1000)):
        assert choose_backend(network, "auto") != "opacus"
        assert choose_backend(network, "loop") == "loop"
        assert choose_backend(network, "opacus") == "opacus"


@pytest.mark.gpu
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", STUDIES)
def test_the_gpu_gives_the_cpus_sum(name: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    study = STUDIES[name]
    network, batch = build_network(study), cases_of(study, 7)
    bound = median_norm(network, batch, study)
    expected, _ = clipped_sum(network, batch, loss_of(study), bound, "loop")
    there: MultimodalNetwork = copy.deepcopy(network).to("cuda")
    found, _ = clipped_sum(there, batch.to("cuda"), loss_of(study), bound, backend)
    assert_close(found, expected)
