"""Weights made by a hostile coordinator: one patient more moves no sum by more than is charged for him.

Kernels that serve many rows add up in another order than those that serve few, and weights can be made for which that
decides everything. On a batch of patients the attack works, as the last test shows of the hooks; on patients who are
taken one by one, or in a constant number of rows, there is nothing to switch.
"""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from client.training import slots
from client.training.clipped_sum import choose_backend, clipped_sum
from client.training.evaluate import evaluate
from client.training.slots import SLOTS
from common.models.batch import Batch
from common.models.network import MultimodalNetwork
from common.scores import loss_rows, score_sensitivity
from common.study import Study
from tests.support.switching import (
    Switch,
    patients,
    switches,
    switching_study,
    turning_gradients,
    turning_scores,
)
from tests.support.tied import Draws, clipped_step

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")
STUDY = switching_study()
PRIVATE = switching_study(privacy={"mode": "local", "epsilon": 1.0, "sample_rate": 0.5, "expected_batch_size": 8})
BOUND = 0.5
ALLOWED = 1.0001


@pytest.fixture(scope="module")
def found() -> list[Switch]:
    """One switch for each number of rows at which this machine's kernels change."""
    by_rows = {switch.rows: switch for switch in switches(0)}
    if not by_rows:
        pytest.skip("every batch of up to 40 rows is served by the same kernels here")
    return list(by_rows.values())


def sum_movement(network: MultimodalNetwork, batch: Batch, wish: str) -> float:
    """How far the last patient moves the clipped sum, in units of the bound."""
    backend = choose_backend(network, wish)  # type: ignore[arg-type]
    loss = partial(loss_rows, STUDY)
    fewer = batch.rows(range(len(batch) - 1))
    own = np.random.default_rng(len(batch)).integers(SLOTS, size=len(batch))  # each one's place, in both
    with patch.object(slots, "places", lambda rows, among: own[:rows]):
        one, two = (clipped_sum(network, rows, loss, BOUND, backend)[0] for rows in (batch, fewer))
    return float((one - two).norm()) / BOUND


def score_movement(network: MultimodalNetwork, batch: Batch, study: Study) -> float:
    """How far the last patient moves all score sums together, in units of what is charged."""
    fewer = batch.rows(range(len(batch) - 1))
    one, two = (np.concatenate(list(evaluate(network, rows, study).values())) for rows in (batch, fewer))
    return float(np.linalg.norm(one - two)) / score_sensitivity(study)


def test_a_patient_more_turns_nobody_elses_gradient(found: list[Switch]) -> None:
    for switch in found:
        network, batch = turning_gradients(STUDY, switch), patients(STUDY, switch.rows + 1)
        assert choose_backend(network, "auto") == "slots"
        assert sum_movement(network, batch, "auto") <= ALLOWED
        assert sum_movement(network, batch, "loop") <= ALLOWED


def test_a_patient_more_turns_nobody_elses_score(found: list[Switch]) -> None:
    for switch in found:
        network, batch = turning_scores(PRIVATE, switch), patients(PRIVATE, switch.rows + 1)
        assert score_movement(network, batch, PRIVATE) <= ALLOWED


@pytest.mark.parametrize("clipping", ["auto", "slots"])
def test_a_private_step_moves_by_one_patient_with_everybodys_own_draws(found: list[Switch], clipping: Any) -> None:
    """The whole step: sample, modality dropout, clipping. `make bench ONLY=privacy` does it up to 300 patients."""
    for number, switch in enumerate(found):
        network, everyone = turning_gradients(STUDY, switch), patients(STUDY, switch.rows + 3)
        chosen = list(range(len(everyone)))
        for out in (0, len(everyone) - 1):
            draws = Draws(len(everyone), seed=number)
            others = [patient for patient in chosen if patient != out]
            one, two = (clipped_step(network, everyone, who, STUDY, draws, clipping) for who in (chosen, others))
            assert np.linalg.norm(one - two) <= ALLOWED


def test_the_attack_works_on_what_is_taken_in_batches(found: list[Switch]) -> None:
    """Else the tests above would prove nothing; and it is what a site gives up that asks for hooks."""
    most = max(
        sum_movement(turning_gradients(STUDY, switch), patients(STUDY, switch.rows + 1), "opacus") for switch in found
    )
    assert most > 2
    scores = max(
        score_movement(turning_scores(STUDY, switch), patients(STUDY, switch.rows + 1), STUDY) for switch in found
    )
    assert scores > 1.2
