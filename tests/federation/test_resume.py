"""A coordinator that is killed resumes to the model that it would have made."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import RunError
from common.study import Study, study_text
from deploy.simulation.faults import Loss
from server.checkpoint import read
from tests.support.federation import run, small_hospitals
from tests.support.killing import ROOT, killed_after


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


KILLED_BEFORE_SAVING = """
import os, sys
from pathlib import Path
from common.study import read_study
from deploy.simulation.hospitals import hospitals_in
from deploy.simulation.simulate import Simulation, simulate
from server.run import Run

save = Run._save
def die(self, number, *rest):
    if number == 2:
        os._exit(9)
    save(self, number, *rest)
Run._save = die
study, hospitals, folder = map(Path, sys.argv[1:])
simulate(Simulation(read_study(study), hospitals_in(hospitals), folder, workers=2, compare=False))
"""


def killed_before_saving(study: Study, folders: tuple[Path, ...], place: Path) -> Path:
    """A run whose process ends when the sum of round 2 is open, and before anything of it is saved."""
    (place / "study.yaml").write_text(study_text(study))
    where = [str(place / "study.yaml"), str(folders[0].parent), str(place / "killed")]
    command = [sys.executable, "-P", "-c", KILLED_BEFORE_SAVING, *where]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert ended.returncode == 9
    return place / "killed"


def test_a_run_killed_after_a_sum_was_opened_repeats_it_with_the_same_sites(hospitals, tmp_path):
    """The worst moment: the sites have revealed their shares, and the coordinator has forgotten the sum."""
    study, folders = hospitals
    undisturbed, _ = run(study, folders, tmp_path / "undisturbed")
    folder = killed_before_saving(study, folders, tmp_path)
    state = read(folder / "checkpoint.npz", study.digest)
    assert state.round == 1 and state.survivors == [folder.name for folder in folders]
    resumed, _ = run(study, folders, folder, resume=True)
    assert np.array_equal(resumed.weights, undisturbed.weights)


def test_without_one_of_these_sites_it_is_not_repeated_and_the_reason_is_said(hospitals, tmp_path):
    study, folders = hospitals
    folder = killed_before_saving(study, folders, tmp_path)
    gone = folders[1].name
    losses = tuple(Loss(gone, number, "join") for number in range(1, 12))
    with pytest.raises(RunError, match=f"all of .*{gone}.*--resume"):
        run(study, folders, folder, resume=True, losses=losses)
    outcome, _ = run(study, folders, folder, resume=True)
    assert np.isfinite(outcome.weights).all()
