"""`work` itself, on a real cohort: what it hands over has the plan's noise in every segment, and was paid for before.

Thresholds are at one false alarm in a million for each figure.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from client.round.round import work
from client.round.session import Site
from client.standing import standing
from client.terms import require_terms
from client.training import evaluate as evaluation
from client.training.clipped_sum import LoopClipper
from client.training.slots import SlotClipper
from common.disk.audit import Failed
from common.errors import PolicyError, ProtocolOrderError
from common.privacy.accounting import epsilon
from common.secure_sum.fixed_point import FixedPoint
from tests.support.forked import start
from tests.support.scripted import NAMES, PRIVATE, Hospitals
from tests.support.tiny import study_of
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


def test_the_test_score_has_the_noise_that_its_own_account_was_charged(tmp_path: Path) -> None:
    """From schema 1 on: less noise than a score of validation patients, who are scored more often."""
    one = ward(tmp_path)
    here = Ward(one.folder, replace(one.study, schema=1, privacy=replace(one.study.privacy, spare_rounds=TIMES)))
    segments = here.attempts(TIMES, asks=("test",))
    assert here.site.privacy is not None
    test, validation = (here.site.privacy.evaluation_of(part) for part in ("test", "validation"))
    assert test.noise_multiplier < validation.noise_multiplier
    for values in segments.values():
        spread(values, test.noise_multiplier * math.sqrt(1 + 4))
    charged = {(entry.cohort, *entry.releases) for entry in here.site.ledger.entries()}
    assert charged == {("test", test)}


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
    updates = here.attempts(times, asks=("update",))
    moved = np.hstack([values for name, values in updates.items() if name.startswith("update/")])
    assert here.site.privacy is not None and here.site.privacy.noise_multiplier <= 0.2
    direction = moved.mean(axis=0) / np.linalg.norm(moved.mean(axis=0))
    counts = moved @ direction / (0.01 * 0.01)  # learning rate, bound: patients of one outcome less those of the other
    steps, rate, patients, net = 2, 0.5, 40, 36
    sd = math.sqrt(steps * (rate * (1 - rate) * patients + here.site.privacy.noise_multiplier**2))
    assert abs(counts.mean() - steps * rate * net) < stats.norm.isf(RARE) * sd / math.sqrt(times)
    spread(counts[:, None], sd, slack=0.02)


def test_who_is_shown_without_a_modality_is_drawn_anew_for_each_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a seed that others know, one patient more would shift the masks of all behind."""
    one = ward(tmp_path)
    here = Ward(one.folder, replace(one.study, fusion=replace(one.study.fusion, modality_dropout=0.5)))
    monkeypatch.setattr("client.training.gradient.noisy", lambda values, sd: values)
    monkeypatch.setattr("client.training.gradient.poisson_sample", lambda n, rate: np.arange(n))
    updates = here.attempts(2, asks=("update",))["update/shared"]
    assert updates.any() and not np.array_equal(updates[0], updates[1])


def counted(updates: Mapping[str, NDArray[np.float64]]) -> float:
    """Patients of one outcome less those of the other, over all steps, as the updates of `alike` tell, in the mean."""
    moved = np.hstack([values for name, values in updates.items() if name.startswith("update/")])
    return float(np.linalg.norm(moved.mean(axis=0)) / (0.01 * 0.01))  # learning rate, bound


def test_the_coordinators_clock_stops_no_private_round(tmp_path: Path) -> None:
    """Where a clock stops hangs on the patients, and everybody's gradients of the steps behind it with that."""
    here = alike(tmp_path)
    updates = here.attempts(20, asks=("update",), seconds=1e-9)
    assert counted(updates) == pytest.approx(2 * 0.5 * 36, rel=0.2)


def test_a_round_that_the_sites_own_clock_stops_has_the_noise_of_all_steps(tmp_path: Path) -> None:
    here, times = ward(tmp_path), 40
    file = here.folder.file
    here.folder = replace(here.folder, file=replace(file, policy=replace(file.policy, round_seconds=1e-9)))
    updates = here.attempts(times, asks=("update",))
    assert here.site.privacy is not None
    sd = here.study.training.learning_rate / PRIVACY["expected_batch_size"] * math.sqrt(2)
    spread(updates["update/shared"], sd * here.site.privacy.noise_multiplier, slack=0.01)


# --------------------------------------------------------------------------------------------- paid for before, always

# Where something can go wrong in `work` after the charge, and the part of the answer that fails with it.
PLACES = {
    "client.round.answers.statistics.statistic_sums": "statistics",
    "client.round.answers.scores.evaluate": "scores",
    "client.round.answers.update.train_locally": "training",
    "client.round.answers.update.update_of": "training",
    "client.training.gradient.poisson_sample": "training",
}
PAID = {("training", "training"), ("training", "statistics"), ("held_out", "statistics"), ("held_out", "evaluation")}


def paid(site: Site) -> set[tuple[str, str]]:
    return {(entry.cohort, release.kind) for entry in site.ledger.entries() for release in entry.releases}


class Foreign(Exception):
    """As a library raises it, with a patient's name in its text."""


def fail_once(patch: pytest.MonkeyPatch, place: str) -> None:
    """The first call fails, as one that looks at patients may; the next does not."""
    owner, _, name = place.rpartition(".")
    original, calls = getattr(importlib.import_module(owner), name), []

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise Foreign("Annegret")
        return original(*arguments, **named)

    patch.setattr(place, failing)


@pytest.mark.parametrize("place", PLACES)
def test_whatever_fails_is_paid_for_answered_with_noise_and_told_to_the_site_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    here = ward(tmp_path)
    whole = {name: value.shape for name, value in here.segments(here.plan(attempt=1)).items()}
    with monkeypatch.context() as patch, caplog.at_level("ERROR", "wardround.site"):
        fail_once(patch, place)
        answer = here.segments(here.plan(attempt=2))
    assert {name: value.shape for name, value in answer.items()} == whole
    assert all(value.any() for value in answer.values())
    assert paid(here.site) == PAID
    (event,) = [record.event for record in here.site.audit.events() if isinstance(record.event, Failed)]
    assert (event.part, event.error, event.place) == (PLACES[place], "Foreign", "failing")
    told = "\n".join(standing(here.folder))
    assert f"{event.part} with Foreign at failing" in told and "site pause" in told
    assert "FAILED with Foreign" in caplog.text and "Annegret" not in caplog.text + told
    caplog.clear()
    here.segments(here.plan(attempt=3))
    assert not caplog.text, "the site works on: a person pauses it"


def test_a_site_whose_work_failed_answers_the_coordinator_as_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the real handlers: the sum opens, and nothing but the site's own log tells."""
    them = Hospitals(tmp_path, study_of("chart", "panel", **PRIVATE))
    fail_once(monkeypatch, "client.round.answers.update.train_locally")
    summed = them.summed(1)
    assert summed["weight/shared"] == pytest.approx(len(NAMES)) and summed["update/shared"].any()
    failed = [name for name in NAMES for record in them.sites[name].audit.events() if isinstance(record.event, Failed)]
    assert failed == [NAMES[0]]


def test_noise_alone_is_as_much_noise_as_the_whole_answer_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, times = ward(tmp_path), 40

    def fail(*_: Any, **__: Any) -> Any:
        raise Foreign

    for place in ("client.round.answers.statistics.statistic_sums", "client.round.answers.scores.evaluate"):
        monkeypatch.setattr(place, fail)
    monkeypatch.setattr("client.training.gradient.poisson_sample", _fails_for_somebody)
    found = here.attempts(times)
    plan = here.site.privacy
    assert plan is not None
    sd = 8.0 * math.sqrt(2 + 2 + 3 * 5)
    for name in ("cases", "present", "classes", "moments/labs"):
        spread(found[name], sd)
        assert abs(found[name].mean()) < stats.norm.isf(RARE) * sd / math.sqrt(found[name].size), "and of nobody"
    spread(found["scores/histogram"], plan.evaluation_noise_multiplier * math.sqrt(5))
    step = here.study.training.learning_rate / PRIVACY["expected_batch_size"]
    spread(found["update/shared"], step * math.sqrt(2) * plan.noise_multiplier, slack=0.01)


@pytest.mark.parametrize("clipping", ["auto", "loop"])
def test_a_patient_of_whom_training_fails_is_left_out_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clipping: str
) -> None:
    """Noise alone in place of everybody would tell of that one patient by all the others. `auto` is slots here, where
    he stands among others."""
    here = alike(tmp_path, many=2, few=38, clipping=clipping)
    clipper, name = {"auto": (SlotClipper, "of_each_place"), "loop": (LoopClipper, "_gradient")}[clipping]
    fails = _fails_for(1, lambda _, rows: rows.target, getattr(clipper, name))
    monkeypatch.setattr(clipper, name, fails)
    without = counted(here.attempts(20, asks=("update",)))
    assert without == pytest.approx(2 * 0.5 * 38, rel=0.2)
    assert {event.part for event in failures(here.site)} == {"training"}


def test_a_patient_of_whom_the_score_fails_is_left_out_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = ward(tmp_path, epsilon=1e6)
    targets = here.site.cohort.validation.target
    others = int((targets == 0).sum())
    assert 0 < others < len(targets)
    scores = _fails_for(1, lambda study, logits, target: target, evaluation.score_sums)
    monkeypatch.setattr(evaluation, "score_sums", scores)
    assert here.site.privacy is not None
    sd = here.site.privacy.evaluation_noise_multiplier * math.sqrt(1 + 4)
    found = here.segments(here.plan(asks=("validation",)))["scores/cases"]
    assert abs(float(found[0]) - others) < stats.norm.isf(RARE) * sd < others
    (event,) = failures(here.site)
    assert (event.part, event.error) == ("scores", "Foreign"), "and the site is told once a round"


def _fails_for(wrong: int, target_of: Any, original: Any) -> Any:
    def failing(*arguments: Any) -> Any:
        if (target_of(*arguments) == wrong).any():
            raise Foreign("Annegret")
        return original(*arguments)

    return failing


def failures(site: Site) -> list[Failed]:
    return [record.event for record in site.audit.events() if isinstance(record.event, Failed)]


def _fails_for_somebody(n: int, rate: float) -> NDArray[np.int64]:
    if n:
        raise Foreign
    return np.arange(0)


def test_a_draw_outside_of_its_segment_is_moved_to_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It happens once in 10^23 draws; a refusal then would depend on the patients below the noise."""
    here = ward(tmp_path)
    plan = here.plan()
    monkeypatch.setattr("common.privacy.noise.noisy", lambda values, sd: values + 1e9)
    worked = work(plan, here.site)
    bound = {segment.name: segment.bound for segment in worked.layout.segments}
    values = {part.segment.name: part.values for part in worked.summand.parts}
    assert (values["cases"] == bound["cases"]).all() and bound["cases"] < 1e5
    FixedPoint(worked.layout, bits=32, sites=3).words(worked.summand, (1,))


@pytest.mark.parametrize("place", PLACES)
def test_without_privacy_a_failure_is_raised_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    if "gradient" in place:
        place = "client.training.gradient.MeanGradient.next"
    here = ward(tmp_path, mode="none")
    fail_once(monkeypatch, place) if "MeanGradient" not in place else monkeypatch.setattr(place, _raise)
    with pytest.raises(Foreign):
        work(here.plan(), here.site)


def _raise(*_: Any) -> Any:
    raise Foreign


def test_an_attempt_is_worked_on_once(tmp_path: Path) -> None:
    here = ward(tmp_path)
    plan = here.plan()
    work(plan, here.site)
    with pytest.raises(ProtocolOrderError, match="paid for before"):
        work(plan, here.site)


def test_the_ledger_judges_at_the_hospitals_delta(tmp_path: Path) -> None:
    """Also where nobody asked for the terms first: a study's larger delta does not stretch the ledger."""
    here = ward(tmp_path, delta=9e-3)
    with pytest.raises(PolicyError, match=r"policy\.delta"):
        require_terms(here.folder.file, here.study)
    worked = work(here.plan(), here.site)
    releases = [
        release for entry in here.site.ledger.entries() if entry.cohort == "training" for release in entry.releases
    ]
    assert worked.epsilon == epsilon(releases, 1e-5) > epsilon(releases, 9e-3)


@pytest.mark.parametrize(
    "place",
    [
        "client.round.answers.statistics.statistic_sums",
        "client.round.answers.scores.evaluate",
        "client.training.gradient.poisson_sample",
    ],
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
