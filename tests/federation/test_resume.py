"""A coordinator that is killed resumes to the model that it would have made."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import RunError
from common.study import Study, read_study, study_text
from deploy.research.simulation.faults import Loss
from deploy.research.simulation.hospitals import hospitals_in
from deploy.research.simulation.simulate import Simulation, simulate
from server.run.checkpoint import read
from server.run.run import Run
from tests.support.federation import run, small_hospitals
from tests.support.killing import killed_after
from tests.support.warm import called


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...]]:
    return small_hospitals(tmp_path_factory.mktemp("hospitals") / "made")


@pytest.mark.parametrize(
    "server",
    [
        "FedAvgM",
        pytest.param("FedAdam", marks=pytest.mark.soak),
        pytest.param("FedYogi", marks=pytest.mark.soak),
        pytest.param("FedAdagrad", marks=pytest.mark.soak),
    ],
)
def test_a_killed_run_resumes_to_the_same_model(hospitals, tmp_path, server):
    """kill -9 in the middle of the study, for each server step with a memory."""
    study, folders = hospitals
    options = {"server_momentum": 0.9} if server == "FedAvgM" else {"eta": 0.01}
    study = replace(study, rounds=4, server=replace(study.server, strategy=server, options=options))
    undisturbed, _ = run(study, folders, tmp_path / "undisturbed")
    (tmp_path / "study.yaml").write_text(study_text(study))
    (tmp_path / "work").mkdir()
    assert killed_after(3, tmp_path / "study.yaml", folders[0].parent, tmp_path / "work")
    assert "Traceback" not in (tmp_path / "work" / "killed.err").read_text()  # of workers whose caller has gone
    resumed, _ = run(study, folders, tmp_path / "work" / "runs" / "killed", resume=True)
    assert np.array_equal(resumed.weights, undisturbed.weights)


def dies_before_saving(study: Path, hospitals: Path, folder: Path) -> None:
    """A run whose process ends when the sum of round 2 is open, and before anything of it is saved."""
    save = Run._save

    def die(self: Run, number: int, *rest: Any) -> None:
        if number == 2:
            os._exit(9)
        save(self, number, *rest)

    Run._save = die  # type: ignore[method-assign]
    simulate(Simulation(read_study(study), hospitals_in(hospitals), folder, workers=2, compare=False))


@pytest.fixture(scope="module")
def undisturbed(hospitals: tuple[Study, tuple[Path, ...]], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The weights of a run that nothing disturbed."""
    outcome, _ = run(*hospitals, tmp_path_factory.mktemp("undisturbed"))
    return outcome.weights


@pytest.fixture(scope="module")
def killed_before_saving(hospitals: tuple[Study, tuple[Path, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, (study, folders) = tmp_path_factory.mktemp("killed"), hospitals
    (place / "study.yaml").write_text(study_text(study))
    assert called(dies_before_saving, place / "study.yaml", folders[0].parent, place / "run") == 9
    return place / "run"


def test_a_run_killed_after_a_sum_was_opened_repeats_it_with_the_same_sites(
    hospitals, undisturbed, killed_before_saving, tmp_path
):
    """The worst moment: the sites have revealed their shares, and the coordinator has forgotten the sum."""
    study, folders = hospitals
    folder = shutil.copytree(killed_before_saving, tmp_path / "run")
    state = read(folder / "checkpoint.npz", study.digest)
    assert state.round == 1 and state.survivors == [folder.name for folder in folders]
    resumed, _ = run(study, folders, folder, resume=True)
    assert np.array_equal(resumed.weights, undisturbed)


def test_without_one_of_these_sites_it_is_not_repeated_and_the_reason_is_said(
    hospitals, killed_before_saving, tmp_path
):
    study, folders = hospitals
    folder = shutil.copytree(killed_before_saving, tmp_path / "run")
    gone = folders[1].name
    losses = tuple(Loss(gone, number, "join") for number in range(1, 12))
    with pytest.raises(RunError, match=f"all of .*{gone}.*--resume"):
        run(study, folders, folder, resume=True, losses=losses)
    outcome, _ = run(study, folders, folder, resume=True)
    assert np.isfinite(outcome.weights).all()
