"""Long runs, for `make soak`: a coordinator that is killed again and again, and sites that come and go at random."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import RunError
from common.study import Study, study_text
from deploy.research.simulation.faults import LEGS, Loss
from tests.support.federation import private, run, small_hospitals
from tests.support.killing import killed_after

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...]]:
    study, folders = small_hospitals(tmp_path_factory.mktemp("hospitals") / "made")
    return replace(study, rounds=12), folders


def test_killed_at_random_moments_the_run_still_ends_in_the_same_model(hospitals, tmp_path):
    study, folders = hospitals
    undisturbed, _ = run(study, folders, tmp_path / "undisturbed")
    (tmp_path / "study.yaml").write_text(study_text(study))
    moments, kills = random.Random(5), 0
    while killed_after(
        moments.randint(1, 2), tmp_path / "study.yaml", folders[0].parent, tmp_path, pause=moments.uniform(0, 0.15)
    ):
        kills += 1
        assert kills < 40, "the run never came to its end"
    resumed, _ = run(study, folders, tmp_path / "runs" / "killed", resume=True)
    assert kills > 1
    assert np.array_equal(resumed.weights, undisturbed.weights)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_sites_are_lost_the_run_ends_or_says_why_and_goes_on(hospitals, tmp_path, seed):
    study, folders = hospitals
    draw = random.Random(seed)
    losses = tuple(
        Loss(draw.choice(folders).name, number, draw.choice(LEGS[1:])) for number in range(1, 16) if draw.random() < 0.5
    )
    try:
        outcome, evidence = run(study, folders, tmp_path, losses=losses)
    except RunError as error:
        assert "--resume" in str(error)
        outcome, evidence = run(study, folders, tmp_path, resume=True)
    assert np.isfinite(outcome.weights).all()
    assert len(evidence.rounds) == study.rounds + 1


def test_a_private_run_with_losses_never_spends_more_than_its_budget(hospitals, tmp_path):
    study, folders = hospitals
    study = private(replace(study, privacy=replace(study.privacy, spare_rounds=4)))
    losses = tuple(Loss(folders[number % 4].name, number, "round") for number in (3, 7, 11))
    began = time.monotonic()
    _, evidence = run(study, folders, tmp_path, losses=losses)
    last = evidence.rounds[-1]
    assert last.epsilon is not None and last.epsilon <= study.privacy.epsilon
    assert time.monotonic() - began < 600
