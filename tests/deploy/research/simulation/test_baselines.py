"""What the federation is held against: a contender that cannot be scored still has to be a trained one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from common.models.batch import Batch
from common.models.network import build_network
from common.parameters import flatten
from common.study import Study, parse_study
from deploy.research.simulation.baselines import _train

STUDY = """
study: one
task: {kind: binary, classes: [well, ill]}
modalities: {record: {kind: record, numeric: {a: {low: -4, high: 4, mean: 0, sd: 1}}, encoder: {hidden: []}}}
rounds: 6
fusion: {kind: mean, modality_dropout: 0.0}
training: {local_steps: 3, batch_size: 8, learning_rate: 0.5}
privacy: {mode: none}
"""


def cases(numbers: list[float], labels: list[int]) -> Batch:
    record = torch.tensor([[number, 0.0] for number in numbers]).reshape(-1, 2)
    return Batch({"record": record}, torch.ones(len(numbers), 1, dtype=torch.bool), torch.tensor(labels).long())


@pytest.fixture
def study() -> Study:
    return parse_study(STUDY)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1]])
def test_validation_patients_of_one_class_leave_the_last_round(study: Study, labels: list[int]) -> None:
    """An untrained model in a site's place would make the federation look better than it is."""
    train = cases([-2, -1, 1, 2] * 4, [0, 0, 1, 1] * 4)
    network, without = build_network(study), build_network(study)
    start = flatten(network)
    best, score = _train(network, study, "alone", train, cases([0.5] * len(labels), labels))
    last, _ = _train(without, study, "alone", train, cases([], []))
    assert best == last == study.rounds and math.isnan(score)
    assert not np.array_equal(flatten(network), start)
    np.testing.assert_array_equal(flatten(network), flatten(without))


def test_validation_patients_of_both_classes_choose_the_round(study: Study) -> None:
    """Training on turned labels gets worse from the first round on: the first scored round is kept."""
    train = cases([-2, -1, 1, 2] * 4, [1, 1, 0, 0] * 4)
    network = build_network(study)
    best, score = _train(network, study, "alone", train, cases([-1, 1], [0, 1]))
    assert best == 1 and score == 0.0
