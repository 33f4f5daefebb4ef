"""Small whole studies for tests: synthetic hospitals, a study that trains in seconds, and a way to run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.study import Study, read_study
from deploy.research.simulation.faults import Loss
from deploy.research.simulation.hospitals import hospitals_in
from deploy.research.simulation.simulate import Simulation, simulate
from deploy.research.synthetic.generate import generate
from server.report.evidence import Evidence
from server.run.observer import Unwatched
from server.run.outcome import Outcome


def small_hospitals(folder: Path, *, sites: int = 4, seed: int = 0) -> tuple[Study, tuple[Path, ...]]:
    """Four small hospitals and their study, made short: 3 rounds of 2 steps, no privacy."""
    generate(folder, sites=sites, seed=seed, scale=0.15)
    study = read_study(folder / "study.yaml")
    study = replace(
        study,
        rounds=3,
        training=replace(study.training, local_steps=2, batch_size=8),
        privacy=replace(study.privacy, mode="none"),
    )
    return study, hospitals_in(folder)


def private(study: Study) -> Study:
    """The same study with DP-SGD at the sites."""
    return replace(study, privacy=replace(study.privacy, mode="local", sample_rate=0.2, expected_batch_size=8.0))


def run(
    study: Study,
    hospitals: tuple[Path, ...],
    folder: Path,
    *,
    losses: tuple[Loss, ...] = (),
    resume: bool = False,
    compare: bool = False,
) -> tuple[Outcome, Evidence]:
    """Simulate with two workers."""
    return simulate(Simulation(study, hospitals, folder, workers=2, losses=losses, resume=resume, compare=compare))


class Hearing(Unwatched):
    """An observer that keeps what a person is told."""

    def __init__(self, sentences: list[str]) -> None:
        self._sentences = sentences

    def told(self, sentence: str) -> None:
        self._sentences.append(sentence)
