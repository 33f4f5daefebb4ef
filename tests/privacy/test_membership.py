"""An attacker who knows everything but one patient, and sees the weights after training: what can be told of them?

The strongest attack on a Gaussian mechanism projects what is released onto the patient's own gradient. It is carried
out here against real training, and may not succeed more often than the epsilon that was charged allows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from client.training.clipped_sum import clipped_sum
from client.training.local import train_locally
from common.models.batch import Batch
from common.models.network import build_network
from common.parameters import flatten, load
from common.privacy.accounting import Release, epsilon
from common.privacy.plan import PrivacyPlan
from common.scores import loss_rows
from tests.support.tiny import cases_of, study_of

torch.set_num_threads(1)
RATE, EXPECTED, BOUND, DELTA = 0.1, 5.0, 0.3, 1e-3
STUDY = study_of(
    modalities={"panel": {"kind": "sequence", "genes": ["egfr", "kras", "alk"], "encoder": {"hidden": []}}},
    fusion={"kind": "mean", "width": 8, "modality_dropout": 0.0},
    training={"local_steps": 1, "learning_rate": RATE},
)
COHORT = cases_of(STUDY, 6, seed=4, missing=0.0)
TARGET, OTHERS = COHORT.rows([0]), COHORT.rows([1, 2, 3, 4, 5])
ONE_STEP = PrivacyPlan(
    noise_multiplier=1.0,
    sample_rate=1.0,
    expected_batch_size=EXPECTED,
    max_grad_norm=BOUND,
    steps_per_round=1,
    evaluation_noise_multiplier=1.0,
    statistics_noise_multiplier=1.0,
    delta=DELTA,
    epsilon=100.0,
)


def projections(batch: Batch, plan: PrivacyPlan, times: int, steps: int = 1) -> NDArray[np.float64]:
    """What the attacker makes of `times` trainings: the change, less what the others did, along the target's gradient.

    In units of the bound: a target whose gradient is clipped adds 1 for each step that they were in, at the first.
    """
    study = replace(STUDY, training=replace(STUDY.training, local_steps=steps))
    network = build_network(study)
    start = flatten(network)
    loss = partial(loss_rows, study)
    target = clipped_sum(network, TARGET, loss, BOUND)[0].numpy().astype(np.float64)
    known = clipped_sum(network, OTHERS, loss, BOUND)[0].numpy().astype(np.float64) * steps * plan.sample_rate
    found = np.empty(times)
    for trial in range(times):
        load(network, start)
        train_locally(network, batch, study, 1, plan, site="ashford", clipping="loop")
        summed = (start.astype(np.float64) - flatten(network)) * EXPECTED / RATE
        found[trial] = (summed - known) @ target / BOUND**2
    return found


def told_apart(without: NDArray[np.float64], with_target: NDArray[np.float64]) -> float:
    """A lower bound on epsilon, at 99.9 %: from the best of some thresholds, chosen on one half, held to the other."""
    half = len(without) // 2
    best, threshold = -math.inf, 0.0
    for candidate in np.quantile(np.concatenate([without[:half], with_target[:half]]), np.linspace(0.5, 0.98, 25)):
        score = (np.mean(with_target[:half] > candidate) + 0.01) / (np.mean(without[:half] > candidate) + 0.01)
        best, threshold = max((best, threshold), (score, float(candidate)))
    hits, alarms = int((with_target[half:] > threshold).sum()), int((without[half:] > threshold).sum())
    rest = len(without) - half
    surely_hit = stats.beta.ppf(0.0005, hits, rest - hits + 1) if hits else 0.0
    surely_alarm = stats.beta.ppf(0.9995, alarms + 1, rest - alarms) if alarms < rest else 1.0
    return math.log(max(surely_hit - DELTA, 1e-12) / surely_alarm)


def test_the_target_is_a_worst_case() -> None:
    """Else the attack would prove little: their gradient is clipped, so it fills the bound."""
    network = build_network(STUDY)
    gradient, _ = clipped_sum(network, TARGET, partial(loss_rows, STUDY), BOUND)
    assert float(gradient.norm()) == pytest.approx(BOUND, rel=1e-3)


@pytest.mark.parametrize("multiplier", [0.5, pytest.param(2.0, marks=pytest.mark.soak)])
def test_one_step_shows_exactly_a_shifted_gaussian(multiplier: float) -> None:
    plan = replace(ONE_STEP, noise_multiplier=multiplier)
    for batch, mean in ((OTHERS, 0.0), (COHORT, 1.0)):
        found = projections(batch, plan, 300)
        assert stats.kstest(found, "norm", args=(mean, multiplier)).pvalue > 1e-5


def test_the_attack_finds_noise_that_is_too_small() -> None:
    """The test of the tests: against a tenth of the noise that was charged, it says so."""
    charged = epsilon([Release("training", 2.0, 1.0, 1)], DELTA)
    plan = replace(ONE_STEP, noise_multiplier=0.2)
    assert told_apart(projections(OTHERS, plan, 300), projections(COHORT, plan, 300)) > charged


@pytest.mark.parametrize(
    ("multiplier", "rate", "steps"), [pytest.param(1.0, 1.0, 1, marks=pytest.mark.soak), (0.8, 0.3, 3)]
)
def test_no_attack_passes_the_epsilon_that_was_charged(multiplier: float, rate: float, steps: int) -> None:
    plan = replace(ONE_STEP, noise_multiplier=multiplier, sample_rate=rate)
    charged = epsilon([Release("training", multiplier, rate, steps)], DELTA)
    shown = told_apart(projections(OTHERS, plan, 300, steps), projections(COHORT, plan, 300, steps))
    assert shown < charged


def test_the_masks_of_modality_dropout_cannot_be_foreseen() -> None:
    """Known masks would go by places in the sample, and a patient taken out would shift those of all others."""
    study = study_of(fusion={"kind": "mean", "width": 8, "modality_dropout": 0.5}, training={"local_steps": 1})
    batch = cases_of(study, 6, missing=0.0)
    silent = replace(ONE_STEP, noise_multiplier=1e-12)
    seen = set()
    for _ in range(4):
        torch.manual_seed(1)
        np.random.seed(1)
        network = build_network(study)
        train_locally(network, batch, study, 1, silent, site="ashford")
        seen.add((flatten(network).round(6) + 0.0).tobytes())  # -0.0 and 0.0 are one number
    assert len(seen) == 4
