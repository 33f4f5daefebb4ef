"""Local training: what a step does to the weights, what it depends on, and what it must not depend on."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.training.clipped_sum import clipped_sum
from client.training.local import Trained, train_locally
from common.models.batch import Batch
from common.models.network import MultimodalNetwork, build_network
from common.parameters import flatten
from common.privacy.plan import PrivacyPlan
from common.scores import loss_rows
from common.study import Study, Training
from tests.support.tiny import cases_of, study_of

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")
PLAN = PrivacyPlan(
    noise_multiplier=1.5,
    sample_rate=0.5,
    expected_batch_size=8.0,
    max_grad_norm=0.7,
    steps_per_round=4,
    evaluation_noise_multiplier=2.0,
    statistics_noise_multiplier=8.0,
    delta=1e-5,
    epsilon=8.0,
)
EVERYONE_WITHOUT_NOISE = replace(PLAN, noise_multiplier=1e-12, sample_rate=1.0)


def study_with(dropout: float = 0.0, **training: Any) -> Study:
    return study_of(
        fusion={"kind": "attention", "width": 8, "modality_dropout": dropout},
        training={"local_steps": 4, "batch_size": 4, "learning_rate": 0.5, **training},
    )


def trained(
    study: Study,
    batch: Batch,
    plan: PrivacyPlan | None = None,
    *,
    site: str = "ashford",
    round_number: int = 1,
    **options: Any,
) -> tuple[NDArray[np.float32], MultimodalNetwork, Trained]:
    """The change of all weights, the network, and what was said about it."""
    network = build_network(study)
    before = flatten(network)
    done = train_locally(network, batch, study, round_number, plan, site=site, **options)
    return flatten(network) - before, network, done


def named_order(network: MultimodalNetwork) -> NDArray[np.float32]:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).numpy()


# ------------------------------------------------------------------------------------------------- with privacy


def test_nobody_still_takes_every_noisy_step_with_the_plans_noise() -> None:
    study = study_with()
    change, _, done = trained(study, cases_of(study, 0), PLAN)
    assert done == Trained(steps_done=4, cases=0)
    expected = 0.5 * 1.5 * 0.7 / 8.0 * np.sqrt(4)
    assert change.std() == pytest.approx(expected, rel=0.1)
    assert abs(change.mean()) < 5 * expected / np.sqrt(change.size)


def test_the_noise_is_as_large_with_patients_as_without() -> None:
    """The signal of a step is bounded, and the rest is noise of the same sd, whatever the batch was."""
    study = study_with(local_steps=1)
    batch = cases_of(study, 40)
    silent, _, _ = trained(study, batch, EVERYONE_WITHOUT_NOISE)
    noises = [trained(study, batch, replace(PLAN, sample_rate=1.0))[0] - silent for _ in range(5)]
    assert np.std(noises) == pytest.approx(0.5 * 1.5 * 0.7 / 8.0, rel=0.05)


@pytest.mark.parametrize("clipping", ["loop", "opacus"])
def test_a_step_divides_by_the_public_constant_and_not_by_the_batch(clipping: Any) -> None:
    study = study_with(local_steps=1)
    batch = cases_of(study, 5)
    network = build_network(study)
    total, _ = clipped_sum(network, batch, partial(loss_rows, study), PLAN.max_grad_norm)
    expected = named_order(network) - 0.5 * total.numpy() / 8.0
    _, network, _ = trained(study, batch, EVERYONE_WITHOUT_NOISE, clipping=clipping)
    assert np.allclose(named_order(network), expected, atol=1e-6)


def test_neither_noise_nor_sample_follows_a_seed() -> None:
    study = study_with()
    batch = cases_of(study, 12)
    changes = []
    for plan in (PLAN, PLAN, replace(PLAN, noise_multiplier=1e-12), replace(PLAN, noise_multiplier=1e-12)):
        torch.manual_seed(3)
        np.random.seed(3)
        changes.append(trained(study, batch, plan)[0])
    assert not np.allclose(changes[0], changes[1], atol=1e-3)  # noise
    assert not np.allclose(changes[2], changes[3], atol=1e-4)  # the sample alone


def test_every_weight_gets_its_own_noise_in_every_step() -> None:
    study = study_with()
    first, second = (trained(study, cases_of(study, 0), PLAN)[0] for _ in range(2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert np.unique(first).size > 0.95 * first.size


def test_weights_that_are_frozen_stay() -> None:
    study = study_of("letter", fusion={"kind": "mean", "width": 8}, training={"local_steps": 2})
    network = build_network(study)
    frozen = network.encoders["letter"].language.requires_grad_(False)
    before = [parameter.clone() for parameter in frozen.parameters()]
    train_locally(network, cases_of(study, 4), study, 1, PLAN, site="ashford")
    assert all(torch.equal(old, new) for old, new in zip(before, frozen.parameters(), strict=True))


def test_a_poisoned_patient_does_not_spoil_the_weights() -> None:
    study = study_with()
    batch = cases_of(study, 6, missing=0.0)
    batch.inputs["scan"][3] = float("nan")
    change, _, _ = trained(study, batch, EVERYONE_WITHOUT_NOISE)
    others, _, _ = trained(study, batch.rows([0, 1, 2, 4, 5]), EVERYONE_WITHOUT_NOISE)
    assert np.allclose(change, others, atol=1e-5)


def test_what_follows_the_noise_depends_on_no_patient() -> None:
    """Weight decay and FedProx act on the weights alone: without patients and noise they are all that happens."""
    study = study_with(weight_decay=0.1)
    network = build_network(study)
    before = flatten(network)
    train_locally(network, cases_of(study, 0), study, 1, EVERYONE_WITHOUT_NOISE, site="ashford")
    assert np.allclose(flatten(network), before * (1 - 0.5 * 0.1) ** 4, atol=1e-6)
    change, _, _ = trained(study_with(proximal=0.3), cases_of(study, 0), EVERYONE_WITHOUT_NOISE)
    assert np.allclose(change, 0, atol=1e-9)


def test_privacy_still_learns_from_many_patients() -> None:
    study = study_of("panel", fusion={"kind": "mean", "width": 8}, training={"local_steps": 60, "learning_rate": 0.5})
    batch = cases_of(study, 200, missing=0.0)
    batch = Batch(batch.inputs, batch.present, (batch.inputs["panel"][:, 0, 0] > 0).long())
    plan = replace(PLAN, noise_multiplier=1.0, sample_rate=0.2, expected_batch_size=40.0, max_grad_norm=1.0)
    _, network, _ = trained(study, batch, plan)
    with torch.no_grad():
        right = ((network(batch.inputs, batch.present).squeeze(1) > 0).long() == batch.target).float().mean()
    assert right > 0.8


# ------------------------------------------------------------------------------------------------ without privacy


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_same_study_site_and_round_give_the_same_bits(dropout: float) -> None:
    study = study_with(dropout, proximal=0.1, momentum=0.5)
    batch = cases_of(study, 11)
    first, _, _ = trained(study, batch)
    torch.manual_seed(99)
    np.random.seed(99)
    torch.set_num_threads(2)
    again, _, _ = trained(study, batch)
    assert np.array_equal(first, again)
    assert first.any()


def test_sites_rounds_and_seeds_see_other_batches() -> None:
    study = study_with()
    batch = cases_of(study, 11)
    found = [
        trained(study, batch)[0],
        trained(study, batch, site="brantley")[0],
        trained(study, batch, round_number=2)[0],
    ]
    network = build_network(study)
    before = flatten(network)
    train_locally(network, batch, replace(study, seed=study.seed + 1), 1, None, site="ashford")
    found.append(flatten(network) - before)
    for one in range(4):
        for two in range(one):
            assert not np.array_equal(found[one], found[two])


def test_full_batches_are_gradient_descent_on_the_mean_loss() -> None:
    study = study_with(batch_size=100, local_steps=3, momentum=0.4, weight_decay=0.01, proximal=0.2)
    batch = cases_of(study, 9)
    _, network, _ = trained(study, batch)
    expected = by_formula(study.training, study, batch)
    assert np.allclose(flatten(network), expected, atol=1e-5)


def by_formula(training: Training, study: Study, batch: Batch) -> NDArray[np.float32]:
    """SGD with momentum, weight decay and the proximal term, as the papers write them."""
    network = build_network(study).train()
    parameters = list(network.parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(training.local_steps):
        loss = loss_rows(study, network(batch.inputs, batch.present), batch.target).mean()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            for own, first, speed, gradient in zip(parameters, start, velocity, gradients, strict=True):
                full = gradient + training.proximal * (own - first) + training.weight_decay * own
                speed.mul_(training.momentum).add_(full)
                own.sub_(training.learning_rate * speed)
    return flatten(network)


def test_an_epoch_shows_every_patient_once() -> None:
    """With a loss that is linear in the weights, a sum over one epoch's batches is the sum over all patients."""
    study = study_of(
        modalities={"panel": {"kind": "sequence", "genes": [f"g{i}" for i in range(10)], "encoder": {"hidden": []}}},
        fusion={"kind": "mean", "width": 8, "modality_dropout": 0.0},
        training={"local_steps": 5, "batch_size": 2, "learning_rate": 1e-4},
    )
    values = torch.zeros(10, 2, 10)
    values[:, 0] = torch.eye(10)  # patient i alone moves weight i
    batch = Batch({"panel": values}, torch.ones(10, 1, dtype=torch.bool), torch.ones(10, dtype=torch.long))
    _, network, _ = trained(study, batch)
    moved = dict(network.named_parameters())["head.0.weight"].detach()
    assert moved.shape == (1, 20)
    assert torch.allclose(moved[0, :10], torch.full((10,), 1e-4 * 0.5 / 2), rtol=1e-3)


def test_a_pull_back_to_the_start_shortens_the_way() -> None:
    batch = cases_of(study_with(), 11)
    free, _, _ = trained(study_with(local_steps=20), batch)
    held, _, _ = trained(study_with(local_steps=20, proximal=1.0), batch)
    assert np.linalg.norm(held) < 0.8 * np.linalg.norm(free)


def test_no_cases_no_steps() -> None:
    study = study_with()
    change, _, done = trained(study, cases_of(study, 0))
    assert done == Trained(steps_done=0, cases=0)
    assert not change.any()


# -------------------------------------------------------------------------------------------------------- both ways


@pytest.mark.parametrize("plan", [None, PLAN])
def test_adam_moves_each_weight_by_about_the_learning_rate_at_first(plan: PrivacyPlan | None) -> None:
    study = study_with(optimiser="adam", learning_rate=0.01, local_steps=1)
    change, _, _ = trained(study, cases_of(study, 8, missing=0.0), plan)
    assert np.abs(change).max() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("plan", [None, PLAN])
def test_training_stops_between_steps_when_told(plan: PrivacyPlan | None) -> None:
    study = study_with(local_steps=50)
    told: list[tuple[int, int]] = []
    done = trained(study, cases_of(study, 6), plan, stop=lambda: len(told) == 3, progress=lambda *at: told.append(at))[
        2
    ]
    assert done.steps_done == 3
    assert told == [(1, 50), (2, 50), (3, 50)]


@pytest.mark.parametrize("plan", [None, PLAN])
def test_no_global_generator_is_moved(plan: PrivacyPlan | None) -> None:
    study = study_with(0.3)
    network, batch = build_network(study), cases_of(study, 6)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    train_locally(network, batch, study, 1, plan, site="ashford")
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_each_round_starts_a_fresh_optimiser() -> None:
    study = study_with(local_steps=1, momentum=0.9, batch_size=100)
    network, batch = build_network(study), cases_of(study, 6)
    train_locally(network, batch, study, 1, None, site="ashford")
    middle = flatten(network)
    train_locally(network, batch, study, 2, None, site="ashford")
    warm = flatten(network) - middle
    fresh = build_network(study)
    from common.parameters import load

    load(fresh, middle)
    train_locally(fresh, batch, study, 2, None, site="ashford")
    assert np.array_equal(flatten(fresh) - middle, warm)


@pytest.mark.gpu
def test_a_private_step_on_the_gpu_is_the_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    study = study_with(local_steps=3)
    batch = cases_of(study, 10)
    here, _, _ = trained(study, batch, EVERYONE_WITHOUT_NOISE)
    there, _, _ = trained(study, batch, EVERYONE_WITHOUT_NOISE, device="cuda")
    assert np.allclose(here, there, atol=1e-5)
