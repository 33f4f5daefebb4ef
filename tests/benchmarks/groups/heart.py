"""Heart disease in four hospitals: federated behind the secure sum, against the same model trained on pooled data.

FLamby's patients, split and measure: accuracy at 0.5 on the pooled test rows, mean of 5 seeds. Published there: pooled
training .795, best federated .785, FedAvg .748. How the study trains was chosen on training rows alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.study import Study, read_study
from deploy.research.public_data.heart import heart
from deploy.research.simulation.baselines import contenders, judge_model, train_and_judge
from deploy.research.simulation.hospitals import hospitals_in
from deploy.research.simulation.simulate import Simulation, simulate
from tests.benchmarks.figure import Figure

GROUP = "heart"
SOURCE = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "heart"
SEEDS = range(5)
ACCURACY = "heart.accuracy", ">= 0.785"
MINUS_POOLED = "heart.minus_pooled", ">= -0.015"


def measure() -> Iterator[Figure]:
    """Accuracy of the federated model, and by how much it exceeds that of pooled training."""
    if not SOURCE.is_dir():
        for key, bar in (ACCURACY, MINUS_POOLED):
            yield Figure(key, None, bar, "not run: UCI's four files are not at ../shared/data/heart")
        return
    with tempfile.TemporaryDirectory() as place:
        heart(SOURCE, Path(place) / "hospitals")
        found = np.array([_seed(Path(place), seed) for seed in SEEDS])
    (ours, pooled), (our_sd, pooled_sd) = found.mean(axis=0), found.std(axis=0, ddof=1)
    told = f"federated {ours:.4f} sd {our_sd:.4f}, pooled {pooled:.4f} sd {pooled_sd:.4f}; 5 seeds, 254 test rows"
    yield Figure(ACCURACY[0], ours, ACCURACY[1], f"{told}; secure sum on; published: best federated .785, pooled .795")
    yield Figure(MINUS_POOLED[0], ours - pooled, MINUS_POOLED[1], told)


def _seed(place: Path, seed: int) -> tuple[float, float]:
    """(federated, pooled) accuracy on the test rows of all four hospitals."""
    study = replace(read_study(place / "hospitals" / "study.yaml"), seed=seed)
    assert study.secure_sum.enabled and not study.split.validates
    hospitals = hospitals_in(place / "hospitals")
    pooled = contenders(list(map(str, hospitals)))[0]
    ours = _federated(study, hospitals, place / f"run{seed}")
    return ours, train_and_judge(study, hospitals, pooled).metrics["accuracy"]


def _federated(study: Study, hospitals: tuple[Path, ...], folder: Path) -> float:
    outcome, _ = simulate(Simulation(study, hospitals, folder, compare=False))
    judged = judge_model(
        study, hospitals, outcome.weights, outcome.normaliser, "federated", "federated", outcome.selected_round
    )
    assert len(outcome.normaliser) == 1 and outcome.threshold == 3
    return judged.metrics["accuracy"]
