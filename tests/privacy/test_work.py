"""`work` itself, on a real cohort: what it hands over has the plan's noise in every segment, and was paid for before.

Thresholds are at one false alarm in a million for each figure.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from client.round import Site, work
from tests.support.forked import start
from tests.support.working import PRIVACY, Ward, alike, ward

RARE = 1e-6
TIMES = 80
Found = tuple[Ward, dict[str, NDArray[np.float64]]]


def spread(values: NDArray[np.float64], sd: float, slack: float = 0.0) -> None:
    """`values` (times, entries) vary as independent Gaussians of this sd do: each alone, and all of a segment together.

    slack: by how much of the variance patients may add to it
    """
    times, entries = values.shape
    for columns in (values, values.sum(axis=1, keepdims=True) / math.sqrt(entries)):
        free = (times - 1) * columns.shape[1]
        seen = float(((columns - columns.mean(axis=0)) ** 2).sum()) / sd**2
        assert seen > stats.chi2.ppf(RARE, free), f"only {seen / free:.3f} of the variance that was charged"
        assert seen < stats.chi2.isf(RARE, free) * (1 + slack), f"{seen / free:.3f} of the variance that was charged"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    here = ward(tmp_path_factory.mktemp("work"))
    return here, here.attempts(TIMES)


def test_statistics_have_the_noise_that_was_charged(found: Found) -> None:
    here, segments = found
    sd = 8.0 * math.sqrt(2 + 2 + 3 * 5)  # the study's multiplier; two modalities, five normalised columns
    names = [name for name in segments if name.partition("/")[0] in ("cases", "present", "classes", "moments")]
    assert names == ["cases", "present", "classes", "moments/labs", "moments/genes"]
    for name in names:
        spread(segments[name], sd)
    cohort = here.site.cohort
    true = [len(part) for part in (cohort.train, cohort.validation, cohort.test)]
    assert min(true) > 5
    assert np.abs(segments["cases"].mean(axis=0) - true).max() < stats.norm.isf(RARE) * sd / math.sqrt(TIMES)


def test_scores_have_the_noise_that_was_charged(found: Found) -> None:
    here, segments = found
    assert here.site.privacy is not None
    sd = here.site.privacy.evaluation_noise_multiplier * math.sqrt(1 + 4)
    names = [name for name in segments if name.startswith("scores/")]
    assert len(names) == 5
    for name in names:
        spread(segments[name], sd)


def test_updates_have_the_noise_of_every_step_that_was_charged(found: Found) -> None:
    here, segments = found
    plan, training = here.site.privacy, here.study.training
    assert plan is not None and training.local_steps == 2
    sd = training.learning_rate / PRIVACY["expected_batch_size"] * math.sqrt(2) * plan.noise_multiplier
    for group in ("shared", "labs", "genes"):
        assert (segments[f"weight/{group}"] == 1.0).all()
        entries = segments[f"update/{group}"].shape[1]
        patients = len(here.site.cohort.train) / (
            entries * plan.noise_multiplier**2
        )  # at most one clipped gradient each
        spread(segments[f"update/{group}"], sd, slack=4 * patients + 0.01)


def test_what_is_added_is_unrelated_from_segment_to_segment(found: Found) -> None:
    """Two segments that share their noise show the difference of what lies below it."""
    _, segments = found
    first = {name: values[:, 0] - values[:, 0].mean() for name, values in segments.items() if values[:, 0].std() > 0}
    names = sorted(first)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            correlation = np.corrcoef(first[one], first[other])[0, 1]
            assert abs(correlation) < 6 / math.sqrt(TIMES), (one, other)


def test_each_patient_is_in_a_step_by_a_draw_of_its_own(tmp_path: Path) -> None:
    """Seen in the updates: counts of a Poisson sample, not of a sample of a fixed size, nor of one for all steps."""
    here, times = alike(tmp_path), 200
    updates = here.attempts(times, statistics=False, evaluate="")
    moved = np.hstack([values for name, values in updates.items() if name.startswith("update/")])
    assert here.site.privacy is not None and here.site.privacy.noise_multiplier <= 0.2
    direction = moved.mean(axis=0) / np.linalg.norm(moved.mean(axis=0))
    counts = moved @ direction / (0.01 * 0.01)  # learning rate, bound: patients of one outcome less those of the other
    steps, rate, patients, net = 2, 0.5, 40, 36
    sd = math.sqrt(steps * (rate * (1 - rate) * patients + here.site.privacy.noise_multiplier**2))
    assert abs(counts.mean() - steps * rate * net) < stats.norm.isf(RARE) * sd / math.sqrt(times)
    spread(counts[:, None], sd, slack=0.02)


# --------------------------------------------------------------------------------------------- paid for before, always

# Every place in `work` after the charge where something can go wrong.
PLACES = (
    "client.round.load",
    "client.round.set_normaliser",
    "client.round.statistic_sums",
    "client.round.evaluate",
    "client.round.noised",
    "client.round.noisy",
    "client.round.train_locally",
    "client.round.update_of",
)
PAID = {("training", "training"), ("training", "statistics"), ("held_out", "statistics"), ("held_out", "evaluation")}


def paid(site: Site) -> set[tuple[str, str]]:
    return {(entry.cohort, release.kind) for entry in site.ledger.entries() for release in entry.releases}


class Foreign(Exception):
    """As a library raises it, with a patient's name in its text."""


@pytest.mark.parametrize("place", PLACES)
def test_whatever_fails_in_the_work_is_paid_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    here = ward(tmp_path)
    plan = here.plan()

    def fail(*_: Any, **__: Any) -> Any:
        raise Foreign("Annegret")

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with contextlib.suppress(Foreign):
            work(plan, here.site)
        assert paid(here.site) == PAID
    assert set(here.segments(replace(plan, attempt=2))), "the site works on"


@pytest.mark.parametrize(
    "place", ["client.round.load", "client.round.evaluate", "client.training.gradient.poisson_sample"]
)
def test_killed_in_the_work_it_is_paid_for(tmp_path: Path, place: str) -> None:
    here = ward(tmp_path)
    plan = here.plan()

    def worked(_: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            work(plan, here.site)

    process, _ = start(worked)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert paid(here.site) == PAID
