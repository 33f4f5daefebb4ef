"""What the federation is held against, in simulation: training on pooled data, and each site alone.

All train with the code that sites train with, without noise, for as many rounds as the federation, and keep their best
model by their own validation patients. A private study's step size is made for noisy sums and not for plain training,
so there each tries the settings of `TUNING` and keeps the best by validation; the same list for every one of them.
All are judged on the test patients of all sites.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.cohort import Cohort
from client.data.prepare import prepare
from client.data.statistics import statistic_sums
from client.site import read_site
from client.training.evaluate import evaluate
from client.training.local import train_locally
from common.errors import RunError
from common.models.batch import Batch
from common.models.network import MultimodalNetwork, build_network, set_normaliser, use_modalities
from common.parameters import flatten, load
from common.plan import Normaliser
from common.scores import metrics
from common.statistics import normaliser_from_sums
from common.study import Privacy, Study
from deploy.research.simulation.forks import end_with_control_c, forks
from server.report.evidence import Kind


@dataclass(frozen=True)
class Judged:
    """A model's score on the test patients of all sites. `interval`: 95 %, by bootstrap over patients.

    validation: the AUC by which its round was chosen, on its own validation patients; nan where there are none
    note: why there are no scores
    """

    label: str
    kind: Kind
    metrics: dict[str, float]
    interval: tuple[float, float] | None
    best_round: int
    validation: float = float("nan")
    note: str = ""

    @property
    def said(self) -> str:
        """What a report says beside the scores."""
        return self.note or f"best round {self.best_round}"


@dataclass(frozen=True)
class Contender:
    """What to train: `sites` are indices into the hospitals; `modalities` None means all."""

    label: str
    kind: Kind
    sites: tuple[int, ...]
    modalities: tuple[str, ...] | None = None


TUNING: tuple[tuple[Literal["sgd", "adam"], float], ...] = (("sgd", 0.2), ("adam", 0.003))


def settings(study: Study) -> list[Study]:
    """The study's plain twins that a contender tries: without noise, by `TUNING` if the study is private."""
    plain = replace(study, privacy=Privacy(mode="none"))
    if not study.private:
        return [plain]
    return [
        replace(plain, training=replace(study.training, optimiser=optimiser, learning_rate=rate, momentum=0.0))
        for optimiser, rate in TUNING
    ]


def contenders(names: Sequence[str]) -> list[Contender]:
    """Pooled, then each site alone: what every report shows."""
    pooled = Contender("pooled", "pooled", tuple(range(len(names))))
    return [pooled, *(Contender(name, "alone", (index,)) for index, name in enumerate(names))]


def judge_all(
    study: Study,
    hospitals: Sequence[Path],
    wanted: Sequence[Contender],
    *,
    workers: int,
    used: Sequence[str] | None = None,
) -> Iterator[Judged]:
    """Train and judge each contender, several at once, in the order in which they are done.

    used: the modalities that the federated run trained; test patients who have none of them are no test patients
    """
    count = max(1, min(workers, len(wanted)))
    with ProcessPoolExecutor(count, mp_context=forks(), initializer=end_with_control_c) as pool:
        tasks = [pool.submit(train_and_judge, study, tuple(hospitals), contender, used) for contender in wanted]
        try:
            for task in as_completed(tasks):
                yield task.result()
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train_and_judge(
    study: Study, hospitals: Sequence[Path], contender: Contender, used: Sequence[str] | None = None
) -> Judged:
    """Train one contender and judge it. Runs in a process of its own.

    One whose training diverges, with every setting, has no scores and a note that says so.
    """
    torch.set_num_threads(1)
    cohorts = [_cohort(folder, study) for folder in hospitals]
    tried = []
    for setting in settings(study):
        with suppress(RunError):  # its weights are no longer finite numbers
            tried.append(_train_and_judge(setting, cohorts, hospitals, contender, used or study.names))
    if not tried:
        none = dict.fromkeys(("cases", *(measure.key for measure in study.task.measures)), float("nan"))
        return Judged(contender.label, contender.kind, none, None, 0, note="its training diverged: no model")
    return max(tried, key=lambda judged: -np.inf if np.isnan(judged.validation) else judged.validation)


def _train_and_judge(
    study: Study, cohorts: Sequence[Cohort], hospitals: Sequence[Path], contender: Contender, used: Sequence[str]
) -> Judged:
    plain = _plain(study, len(contender.sites))
    chosen = [cohorts[index] for index in contender.sites]
    owned = {name for cohort in chosen for name in cohort.owned}
    shown = tuple(name for name in study.names if name in (contender.modalities or study.names) and name in owned)
    parts = [Batch.join([getattr(item, part) for item in chosen]).only(shown) for part in ("train", "validation")]
    test = test_of(cohorts, used).only(shown)
    network = build_network(plain, models=models_of(hospitals))
    sums: dict[str, NDArray[np.float64]] = {}
    for cohort in chosen:
        for name, value in statistic_sums(plain, cohort).items():
            sums[name] = sums.get(name, 0.0) + value
    set_normaliser(network, dict(normaliser_from_sums(plain, sums)))
    best_round, validation = _train(network, plain, contender.label, *parts)
    judged = _judged(contender.label, contender.kind, network, test, plain, best_round)
    return replace(judged, validation=validation)


def judge_model(
    study: Study,
    hospitals: Sequence[Path],
    weights: NDArray[np.float32],
    normaliser: Normaliser,
    label: str,
    kind: Kind,
    best: int,
    used: Sequence[str] | None = None,
) -> Judged:
    """Judge a federated model on the same test patients. used: the modalities that it was trained with; None: all."""
    used = study.names if used is None else used
    network = build_network(study, models=models_of(hospitals))
    load(network, weights)
    set_normaliser(network, dict(normaliser))
    use_modalities(network, used)
    test = test_of([_cohort(folder, study) for folder in hospitals], used)
    return _judged(label, kind, network, test, study, best)


def test_of(cohorts: Sequence[Cohort], used: Sequence[str]) -> Batch:
    """The test patients of all sites who have any of these modalities, with all that they have."""
    test = Batch.join([cohort.test for cohort in cohorts])
    return test.rows(test.only(used).present.any(dim=1).nonzero().reshape(-1))


def models_of(hospitals: Sequence[Path]) -> Path:
    """The folder of pretrained models that the first site has; a simulation's sites have the same ones."""
    first = read_site(hospitals[0])
    return first.path(first.file.models)


def _plain(study: Study, sites: int) -> Study:
    """The study without proximal term; a contender sees as many cases a round as its sites together."""
    training = replace(study.training, local_steps=study.training.local_steps * sites, proximal=0.0)
    return replace(study, training=training)


def _cohort(folder: Path, study: Study) -> Cohort:
    return prepare(read_site(folder), study)


def _train(network: MultimodalNetwork, study: Study, label: str, train: Batch, validation: Batch) -> tuple[int, float]:
    """Train in place, and leave the weights of the best round by validation AUC. Returns that round and score."""
    best, best_score, best_round, leading = flatten(network), -np.inf, 0, study.task.measures[0]
    for number in range(1, study.rounds + 1):
        train_locally(network, train, study, number, None, site=label, device="cpu", clipping="loop")
        if not len(validation):
            best, best_round = flatten(network), number
        elif (number % study.evaluation.every == 0 or number == study.rounds) and (
            score := leading.rank(metrics(study, evaluate(network, validation, study, alone=False)))
        ) > best_score:
            best, best_score, best_round = flatten(network), score, number
    if not best_round:  # its validation patients are all of one class: no score, so the last round
        return study.rounds, float("nan")
    load(network, best)
    return best_round, float(best_score) if len(validation) else float("nan")


def _judged(label: str, kind: Kind, network: MultimodalNetwork, test: Batch, study: Study, best_round: int) -> Judged:
    """Metrics from the sums that sites would add, and what the task can say exactly, from the cases themselves."""
    found = metrics(study, evaluate(network, test, study, alone=False))
    if not len(test):
        return Judged(label, kind, found, None, best_round)
    network.eval()
    with torch.no_grad():
        output = network(test.inputs, test.present).numpy()
    exact, interval = study.task.exact(output, test.target.numpy(), study.seed)
    return Judged(label, kind, found | exact, interval, best_round)
