"""Scores as sums: the same in parts or at once, zeros for nobody, and the noise that privacy asks for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from client.training.evaluate import evaluate
from common.models.batch import Batch
from common.models.network import build_network
from common.privacy.noise import GaussianNoise
from common.scores import metrics, score_segments, score_sensitivity
from tests.support.tiny import cases_of, study_of

STUDIES = [
    study_of(),
    study_of("panel", task={"kind": "multiclass", "classes": ["a", "b", "c"]}),
]


@pytest.mark.parametrize("study", STUDIES)
def test_sums_do_not_depend_on_how_the_cases_are_parted(study) -> None:  # type: ignore[no-untyped-def]
    network, batch = build_network(study), cases_of(study, 23)
    whole = evaluate(network, batch, study, "cpu")
    halves = [evaluate(network, batch.rows(list(part)), study, "cpu") for part in (range(9), range(9, 23))]
    for name, value in evaluate(network, batch, study, "cpu", rows=4).items():
        assert np.allclose(value, whole[name], atol=1e-6)
        assert np.allclose(halves[0][name] + halves[1][name], whole[name], atol=1e-6)
    assert metrics(study, whole)["cases"] == 23


@pytest.mark.parametrize("study", STUDIES)
def test_nobody_scores_zeros_of_the_right_lengths(study) -> None:  # type: ignore[no-untyped-def]
    sums = evaluate(build_network(study), cases_of(study, 0), study, "cpu")
    assert {name: value.size for name, value in sums.items()} == {
        segment.name: segment.length for segment in score_segments(study)
    }
    assert not any(value.any() for value in sums.values())


def test_evaluation_leaves_weights_and_gradients_alone() -> None:
    study = STUDIES[0]
    network = build_network(study)
    before = [parameter.clone() for parameter in network.parameters()]
    evaluate(network, cases_of(study, 5), study, "cpu")
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_removing_a_patient_moves_the_sums_by_no_more_than_the_sensitivity() -> None:
    for study in STUDIES:
        network, batch = build_network(study), cases_of(study, 6)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(40)  # a confident model, so that losses are large
        everyone = np.concatenate(list(evaluate(network, batch, study, "cpu").values()))
        for row in range(6):
            rest = batch.rows([other for other in range(6) if other != row])
            without = np.concatenate(list(evaluate(network, rest, study, "cpu").values()))
            assert np.linalg.norm(everyone - without) <= score_sensitivity(study) * (1 + 1e-9)


def test_every_entry_gets_noise_of_the_planned_size() -> None:
    study = STUDIES[0]
    sums = evaluate(build_network(study), cases_of(study, 9), study, "cpu")
    noise = GaussianNoise(3.0 * score_sensitivity(study))
    draws = [{name: noise.added_to(value) for name, value in sums.items()} for _ in range(40)]
    added = np.concatenate([draw[name] - sums[name] for draw in draws for name in sums])
    assert added.std() == pytest.approx(3.0 * score_sensitivity(study), rel=0.03)
    for name in sums:
        assert all((draw[name] != sums[name]).any() for draw in draws)
        assert draws[0][name].shape == sums[name].shape


def test_an_absent_modality_may_hold_anything() -> None:
    """Where `present` is false the input is not looked at, also if it is not zero."""
    study = STUDIES[0]
    network, batch = build_network(study), cases_of(study, 6, missing=0.5)
    other = {name: value.clone() for name, value in batch.inputs.items()}
    for row in range(6):
        if not batch.present[row, 0]:
            other["scan"][row] = 0.5
    changed = Batch(other, batch.present, batch.target)
    one, two = (evaluate(network, cases, study, "cpu") for cases in (batch, changed))
    assert all(np.allclose(one[name], two[name]) for name in one)
