"""A coordinator that is killed resumes to the model that it would have made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.study import Study, study_text
from tests.support.federation import run, small_hospitals
from tests.support.killing import killed_after


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...]]:
    return small_hospitals(tmp_path_factory.mktemp("hospitals") / "made")


@pytest.mark.parametrize(
    "server",
    [
        "FedAvgM",
        "FedAdam",
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
    resumed, _ = run(study, folders, tmp_path / "work" / "runs" / "killed", resume=True)
    assert np.array_equal(resumed.weights, undisturbed.weights)
