"""What hides a patient in statistics, scores and updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.privacy.mutants.mutant import Mutant

WORK = "tests/privacy/test_work.py::"
NORMS = ("tests/client/training/test_norms.py::test_numbers_whose_squares_are_flushed_to_zero_are_clipped",)
STATISTICS = (f"{WORK}test_statistics_have_the_noise_that_was_charged",)
SCORES = (f"{WORK}test_scores_have_the_noise_that_was_charged",)
UPDATES = (f"{WORK}test_updates_have_the_noise_of_every_step_that_was_charged",)


def _none(_: Any) -> Any:
    return lambda values, sd: np.asarray(values, dtype=np.float64)


def _half(original: Any) -> Any:
    return lambda values, sd: original(values, sd / 2)


def _one_draw_for_all_entries(original: Any) -> Any:
    def noisy(values: Any, sd: float) -> Any:
        return values + original(np.zeros(1), sd)[0]

    return noisy


def _seeded(_: Any) -> Any:
    return lambda values, sd: values + np.random.default_rng(1).normal(0, sd, np.shape(values))


def _without(_: Any) -> Any:
    return lambda self, study, privacy: None


def _smaller(original: Any) -> Any:
    return lambda study: original(study) / 1.5


def _in_single_precision(_: Any) -> Any:
    return lambda gradient: torch.linalg.vector_norm(gradient, dim=1).double()


MUTANTS = (
    Mutant("statistics without noise", "common.questions.statistics.Statistics.noise", _without, STATISTICS),
    Mutant("statistics with half the noise", "common.privacy.noise.noisy", _half, STATISTICS),
    Mutant(
        "statistics with one draw for all entries", "common.privacy.noise.noisy", _one_draw_for_all_entries, STATISTICS
    ),
    Mutant(
        "statistics of a smaller sensitivity", "common.questions.statistics.patient_sensitivity", _smaller, STATISTICS
    ),
    Mutant("scores without noise", "common.questions.scores.Scores.noise", _without, SCORES),
    Mutant("scores with half the noise", "common.privacy.noise.noisy", _half, SCORES),
    Mutant("scores with noise from a seed", "common.privacy.noise.noisy", _seeded, SCORES),
    Mutant("scores of a smaller sensitivity", "common.questions.scores.score_sensitivity", _smaller, SCORES),
    Mutant("norms whose squares are lost", "client.training.clipping._norms", _in_single_precision, NORMS),
    Mutant("steps without noise", "client.training.gradient.noisy", _none, UPDATES),
    Mutant("steps with half the noise", "client.training.gradient.noisy", _half, UPDATES),
    Mutant("steps with one draw for all entries", "client.training.gradient.noisy", _one_draw_for_all_entries, UPDATES),
)
