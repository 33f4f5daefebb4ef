"""Who is in a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.privacy.mutants.mutant import Mutant

OUTPUTS = ("tests/privacy/test_work.py::test_each_patient_is_in_a_step_by_a_draw_of_its_own",)


def _fixed_size(_: Any) -> Any:
    def sample(n: int, rate: float) -> Any:
        return np.sort(np.random.default_rng().permutation(n)[: round(n * rate)]).astype(np.int64)

    return sample


def _same_in_every_step(original: Any) -> Any:
    calls: list[Any] = []

    def sample(n: int, rate: float) -> Any:
        if len(calls) % 2 == 0:
            calls.append(original(n, rate))
        else:
            calls.append(calls[-1])
        return calls[-1]

    return sample


def _everybody(_: Any) -> Any:
    return lambda n, rate: np.arange(n)


def _all_or_nobody(_: Any) -> Any:
    return lambda n, rate: np.arange(n) if np.random.default_rng().random() < rate else np.arange(0)


def _more_often(original: Any) -> Any:
    return lambda n, rate: original(n, min(1.0, 1.5 * rate))


def _seeded(_: Any) -> Any:
    return lambda n, rate: np.flatnonzero(np.random.default_rng(1).random(n) < rate)


def _dropout_from_a_seed(_: Any) -> Any:
    return lambda *shape: np.random.default_rng(1).random(shape)


_TARGET = "client.training.gradient.poisson_sample"
MUTANTS = (
    Mutant("a sample of a fixed size", _TARGET, _fixed_size, OUTPUTS),
    Mutant("one sample for all steps", _TARGET, _same_in_every_step, OUTPUTS),
    Mutant("everybody in every step", _TARGET, _everybody, OUTPUTS),
    Mutant("one draw for all patients", _TARGET, _all_or_nobody, OUTPUTS),
    Mutant("a larger sample rate than was charged", _TARGET, _more_often, OUTPUTS),
    Mutant("the sample from a seed", _TARGET, _seeded, OUTPUTS),
    Mutant(
        "modality dropout from a seed",
        "client.training.gradient.uniform",
        _dropout_from_a_seed,
        ("tests/privacy/test_work.py::test_who_is_shown_without_a_modality_is_drawn_anew_for_each_attempt",),
    ),
)
