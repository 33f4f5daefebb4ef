"""One network from a study: every encoder with every fusion, and each row for itself."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import RunError, StudyError
from common.layers.clippable import unhookable
from common.models.batch import Batch
from common.models.network import MultimodalNetwork, build_network, set_normaliser
from common.parameters import flatten
from common.scores import loss_rows
from tests.support.gradients import by_autograd, by_hooks, difference, shake
from tests.support.tiny import MODALITIES, cases_of, study_of

FUSIONS = ("mean", "weighted", "product", "concat", "attention")
CHOICES = [(name,) for name in MODALITIES] + [tuple(MODALITIES)]
ROOT = Path(__file__).resolve().parents[3]


def fused(kind: str, *names: str, **sections):
    return study_of(*names, fusion={"kind": kind, "width": 8, "modality_dropout": 0.0}, **sections)


def loss_of(study, batch: Batch):
    def loss(network: nn.Module, rows: slice) -> torch.Tensor:
        part = batch.rows(range(len(batch))[rows])
        return loss_rows(study, network(part.inputs, part.present), part.target).sum()

    return loss


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("names", CHOICES, ids="+".join)
def test_hooks_give_each_rows_own_gradient(kind: str, names: tuple[str, ...]) -> None:
    study = fused(kind, *names)
    network = shake(build_network(study)).train()
    batch = cases_of(study, 5, missing=0.0 if len(names) == 1 else 0.4)
    loss = loss_of(study, batch)
    alone = by_autograd(network, loss, 5)
    assert difference(alone, by_hooks(network, loss, 5)) < 1e-4
    assert all(gradient.abs().sum() > 0 for gradient in alone[:1]), "the first parameter is reached"
    assert unhookable(network) == []


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize(("task", "outputs"), [("binary", 1), ("multiclass", 3)])
def test_logits_for_each_class(kind: str, task: str, outputs: int) -> None:
    classes = ["a", "b", "c"][: max(2, outputs)]
    study = fused(kind, task={"kind": task, "classes": classes})
    batch = cases_of(study, 6)
    logits = build_network(study)(batch.inputs, batch.present)
    assert logits.shape == (6, outputs)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("kind", FUSIONS)
def test_no_rows_give_no_logits_and_no_gradient(kind: str) -> None:
    study = fused(kind)
    network = shake(build_network(study)).train()
    nobody = cases_of(study, 3).rows([])
    logits = network(nobody.inputs, nobody.present)
    assert logits.shape == (0, 1)
    torch.autograd.backward(loss_rows(study, logits, nobody.target).sum())
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_rows_logits_depend_on_that_row_alone(kind: str) -> None:
    study = fused(kind)
    network = shake(build_network(study)).train()
    batch = cases_of(study, 8)
    together = network(batch.inputs, batch.present)
    order = [5, 2, 7]
    assert torch.allclose(together[order], network(*of(batch.rows(order))), atol=1e-5)
    strangers = Batch({name: value.clone() for name, value in batch.inputs.items()}, batch.present, batch.target)
    for name in ("scan", "chart", "panel"):
        strangers.inputs[name][1:] = float("nan")  # the worst that other rows could hold
    assert torch.allclose(together[:1], network(*of(strangers))[:1], atol=1e-5)


@pytest.mark.parametrize("kind", FUSIONS)
def test_what_is_absent_has_no_influence_and_no_gradient(kind: str) -> None:
    study = fused(kind)
    network = shake(build_network(study)).train()
    batch = cases_of(study, 4, missing=0.0)
    present = batch.present.clone()
    present[:, study.names.index("scan")] = False
    logits = network(batch.inputs, present)
    other = {**batch.inputs, "scan": batch.inputs["scan"] + 5.0}
    assert torch.equal(logits, network(other, present))
    assert not torch.allclose(logits, network(batch.inputs, batch.present)), "presence itself must matter"
    torch.autograd.backward(loss_rows(study, logits, batch.target).sum())
    assert not any(p.grad.any() for p in network.encoders["scan"].parameters())
    assert any(p.grad.any() for p in network.encoders["chart"].parameters())


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_broken_encoder_spoils_only_the_cases_that_have_its_modality(kind: str) -> None:
    """0 times infinity is not 0: what is absent must be replaced, not multiplied away."""
    study = fused(kind)
    network = shake(build_network(study)).train()
    batch = cases_of(study, 4, missing=0.0)
    present = batch.present.clone()
    present[1:, study.names.index("scan")] = False
    whole = network(batch.inputs, present)
    with torch.no_grad():
        network.encoders["scan"].project.bias.fill_(float("inf"))
    assert torch.equal(network(batch.inputs, present)[1:], whole[1:])


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_case_without_any_modality_is_finite(kind: str) -> None:
    study = fused(kind)
    network = shake(build_network(study)).train()
    batch = cases_of(study, 3, missing=1.0)
    assert not batch.present.any()
    logits = network(batch.inputs, batch.present)
    torch.autograd.backward(loss_rows(study, logits, batch.target).sum())
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    assert torch.allclose(logits, logits[:1].expand_as(logits)), "nothing is known of any of them"


@pytest.mark.parametrize("kind", FUSIONS)
def test_it_is_a_function_of_its_inputs(kind: str) -> None:
    study = fused(kind)
    network = build_network(study).train()
    batch = cases_of(study, 4)
    assert torch.equal(network(*of(batch)), network(*of(batch)))


@pytest.mark.parametrize("kind", FUSIONS)
def test_no_construct_that_hides_a_patients_gradient(kind: str) -> None:
    network = build_network(fused(kind))
    for name, module in network.named_modules():
        own = list(module.parameters(recurse=False))
        assert not own or not list(module.children()), f"{name} holds a bare parameter"
        assert not isinstance(module, nn.modules.batchnorm._BatchNorm | nn.MultiheadAttention), name
        assert not getattr(module, "inplace", False), name
    assert len({id(p) for p in network.parameters()}) == len(list(network.parameters()))


# ------------------------------------------------------------------------------------------------- the first weights


def test_one_study_gives_the_same_weights_also_side_by_side() -> None:
    studies = [fused(kind) for kind in FUSIONS]
    expected = [flatten(build_network(study)) for study in studies]
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(lambda study: flatten(build_network(study)), studies * 4))
    assert torch.equal(before, torch.get_rng_state()), "torch's own generator must not notice"
    for index, weights in enumerate(found):
        assert np.array_equal(weights, expected[index % 5])


def test_the_seed_and_nothing_else_chooses_the_weights() -> None:
    torch.manual_seed(1)
    one = flatten(build_network(fused("attention")))
    torch.manual_seed(2)
    assert np.array_equal(one, flatten(build_network(fused("attention"))))
    assert not np.array_equal(one, flatten(build_network(fused("attention", seed=1))))
    assert not np.array_equal(one, flatten(build_network(fused("attention", seed=2**32))))
    assert np.isfinite(one).all()


def test_another_process_builds_the_same_without_flower_and_without_what_it_does_not_need() -> None:
    code = """
import hashlib, sys
import common.installation, common.scores
from common.models.network import build_network
from common.parameters import flatten
from tests.support.tiny import MODALITIES, study_of
MODALITIES["letter"]["encoder"]["layers"] = 0
print(hashlib.sha256(flatten(build_network(study_of())).tobytes()).hexdigest())
print([name for name in ("flwr", "transformers", "torchvision", "opacus") if name in sys.modules])
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    letter = {**MODALITIES["letter"], "encoder": {**MODALITIES["letter"]["encoder"], "layers": 0}}
    here = flatten(build_network(study_of(modalities={**MODALITIES, "letter": letter})))
    assert done.stdout.split() == [hashlib.sha256(here.tobytes()).hexdigest(), "[]"]


def test_a_modality_more_does_not_change_the_others_first_weights() -> None:
    few, more = build_network(study_of("scan", "chart")), build_network(study_of())
    for name in ("scan", "chart"):
        for one, other in zip(few.encoders[name].parameters(), more.encoders[name].parameters(), strict=True):
            assert torch.equal(one, other)


def test_a_name_that_torch_needs_is_refused_in_words() -> None:
    with pytest.raises(StudyError, match=r"modalities\.values: .*Call the modality something else"):
        build_network(study_of(modalities={"values": MODALITIES["chart"]}))


# ---------------------------------------------------------------------------------------------------- special shapes


def logistic_study():
    columns = {f"x{i}": {"low": -9, "high": 9, "mean": 0.5, "sd": 2.0} for i in range(3)}
    record = {"kind": "record", "numeric": columns, "missing_indicators": False, "encoder": {"hidden": []}}
    return study_of(modalities={"chart": record})


def test_a_linear_record_study_is_logistic_regression() -> None:
    """Ten steps of gradient descent, beside the same by hand."""
    study = logistic_study()
    network = build_network(study)
    assert [tuple(p.shape) for p in network.parameters()] == [(1, 3), (1,)]
    random = np.random.default_rng(0)
    raw, y = random.normal(size=(40, 3)), random.integers(0, 2, 40)
    record = torch.tensor(np.concatenate([raw, np.zeros((40, 3))], axis=1), dtype=torch.float32)
    z, w, b = (raw - 0.5) / 2.0, np.zeros(3), 0.0
    descent = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(10):
        logits = network({"chart": record}, torch.ones(40, 1, dtype=torch.bool))
        descent.zero_grad()
        torch.autograd.backward(loss_rows(study, logits, torch.tensor(y)).mean())
        descent.step()
        error = 1 / (1 + np.exp(-(z @ w + b))) - y
        w, b = w - 0.5 * z.T @ error / 40, b - 0.5 * error.mean()
    assert np.allclose(flatten(network), [*w, b], atol=1e-5)


def test_a_hidden_layer_anywhere_makes_it_a_network_again() -> None:
    record = {"kind": "record", "numeric": {"x": {"low": 0, "high": 1}}, "encoder": {"hidden": []}}
    linear = study_of(modalities={"chart": record})
    assert not list(build_network(linear).encoders["chart"].parameters())
    for changed in (
        study_of(modalities={"chart": record, "panel": MODALITIES["panel"]}),
        study_of(modalities={"chart": record}, fusion={"kind": "concat", "width": 8}),
        study_of(modalities={"chart": record}, fusion={"kind": "mean", "width": 8, "hidden": 4}),
        study_of(modalities={"chart": {**record, "encoder": {"hidden": [4]}}}),
    ):
        assert list(build_network(changed).encoders["chart"].parameters())


def test_a_linear_sequence_study_has_one_linear_layer() -> None:
    panel = {**MODALITIES["panel"], "encoder": {"hidden": [], "tokens": 1}}
    study = study_of(modalities={"panel": panel})
    network = build_network(study)
    assert [tuple(p.shape) for p in network.parameters()] == [(1, 6), (1,)]
    batch = cases_of(study, 3)
    assert network(*of(batch)).shape == (3, 1)


# --------------------------------------------------------------------------------------------------- the normaliser


def test_the_normaliser_standardises_and_gaps_stay_zero() -> None:
    study = study_of("chart")
    network = build_network(study)
    record = torch.tensor([[70.0, 3.0, 0, 1, 0, 0, 0, 0], [0.0, 0.0, 0, 0, 0, 1, 1, 1]])
    set_normaliser(network, {"chart": (np.array([50.0, 1.0]), np.array([10.0, 0.0]))})
    chart = network.encoders["chart"]
    seen = chart.standardise(record[:, :2], record[:, 5:7])
    assert seen.tolist() == [[2.0, 2.0], [0.0, 0.0]]  # an sd of zero counts as 1


def test_without_mean_and_sd_the_range_stands_for_them() -> None:
    chart = build_network(study_of("chart")).encoders["chart"]
    ends = chart.standardise(torch.tensor([[60.0, 0.0], [75.0, 9.0]]), torch.zeros(2, 2))
    assert ends.tolist() == [[0.0, -2.0], [1.0, 2.0]]


@pytest.mark.parametrize(
    ("name", "mean", "sd"),
    [
        ("chart", [1.0], [1.0]),
        ("chart", [1.0, float("nan")], [1.0, 1.0]),
        ("chart", [1.0, 1.0], [1.0, float("inf")]),
        ("scan", [1.0], [1.0]),
        ("nothing", [1.0], [1.0]),
    ],
)
def test_a_normaliser_that_does_not_fit_is_refused(name: str, mean: list[float], sd: list[float]) -> None:
    network = build_network(study_of())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(RunError):
        set_normaliser(network, {name: (np.array(mean), np.array(sd))})
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def of(batch: Batch):
    return batch.inputs, batch.present


def test_names_follow_the_studys_order() -> None:
    network = build_network(study_of("panel", "scan"))
    assert isinstance(network, MultimodalNetwork)
    assert network.names == ("panel", "scan")
