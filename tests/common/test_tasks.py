"""Tasks: metrics from sums agree with scikit-learn's from cases, and stand noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from common.scores import loss_rows, metrics, score_segments, score_sensitivity, score_sums
from common.summand import Layout
from common.tasks.classes import LOG_LOSS_CAP
from tests.support.tiny import study_of


def task(classes: int, bins: int = 100):
    names = [f"class_{number}" for number in range(classes)]
    kind = "binary" if classes == 2 else "multiclass"
    return study_of("chart", task={"kind": kind, "classes": names}, evaluation={"bins": bins})


BINARY, THREE = task(2), task(3)


def cases(classes: int, n: int, seed: int, spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    target = random.integers(0, classes, n)
    logits = random.normal(size=(n, 1 if classes == 2 else classes)) * spread
    if classes == 2:
        logits[:, 0] += target - 0.5
    else:
        logits[np.arange(n), target] += 1.0
    return torch.tensor(logits), torch.tensor(target)


def shares_of(logits: torch.Tensor) -> np.ndarray:
    return (torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)).numpy()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(5, 200), seed=st.integers(0, 10**6), bins=st.integers(2, 300), spread=st.floats(0.01, 5))
def test_auc_is_that_of_the_binned_scores_and_near_that_of_the_scores(
    n: int, seed: int, bins: int, spread: float
) -> None:
    study = task(2, bins)
    logits, target = cases(2, n, seed, spread)
    sums = score_sums(study, logits, target)
    found = metrics(study, sums)["auc"]
    if len(set(target.tolist())) < 2:
        assert math.isnan(found)
        return
    score = shares_of(logits)[:, 0]
    binned = np.minimum((score * bins).astype(int), bins - 1)
    assert found == pytest.approx(sklearn_metrics.roc_auc_score(target, binned), abs=1e-9)
    negative, positive = sums["scores/histogram"].reshape(2, bins)
    most = 0.5 * (negative @ positive) / (negative.sum() * positive.sum())  # all ties wrong
    assert abs(found - sklearn_metrics.roc_auc_score(target, score)) <= most + 1e-9


def test_auc_of_many_classes_is_one_against_the_rest() -> None:
    logits, target = cases(3, 400, 1)
    found = metrics(task(3, 1000), score_sums(task(3, 1000), logits, target))["auc"]
    exact = sklearn_metrics.roc_auc_score(target, shares_of(logits), multi_class="ovr", average="macro")
    assert found == pytest.approx(exact, abs=2e-3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_other_metrics_are_scikit_learns(classes: int) -> None:
    study = task(classes)
    logits, target = cases(classes, 300, classes)
    found, shares = metrics(study, score_sums(study, logits, target)), shares_of(logits)
    predicted = (shares[:, 0] >= 0.5).astype(int) if classes == 2 else shares.argmax(axis=1)
    assert found["cases"] == 300
    assert found["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(target, predicted))
    full = np.hstack([1 - shares, shares]) if classes == 2 else shares
    assert found["log_loss"] == pytest.approx(sklearn_metrics.log_loss(target, full), rel=1e-6)
    truth = np.eye(classes)[target]
    brier = np.square(full - truth).sum(axis=1).mean() / (2 if classes == 2 else 1)
    assert found["brier"] == pytest.approx(brier)


@pytest.mark.parametrize("study", [BINARY, THREE], ids=["binary", "three classes"])
@settings(max_examples=15, deadline=None)
@given(cut=st.integers(0, 60), seed=st.integers(0, 1000))
def test_sums_of_sites_are_the_sums_of_all(study, cut: int, seed: int) -> None:
    logits, target = cases(len(study.task.classes), 60, seed)
    one, other = score_sums(study, logits[:cut], target[:cut]), score_sums(study, logits[cut:], target[cut:])
    for name, whole in score_sums(study, logits, target).items():
        assert np.allclose(one[name] + other[name], whole)


@pytest.mark.parametrize("study", [BINARY, THREE], ids=["binary", "three classes"])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_one_patient_never_moves_the_sums_by_more_than_is_promised(study, data) -> None:
    """Whatever a crafted model makes of a patient: huge, infinite and undefined logits."""
    classes = len(study.task.classes)
    number = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 1e38, -1e38])
    logits = torch.tensor(
        [data.draw(st.lists(number, min_size=1 if classes == 2 else classes, max_size=1 if classes == 2 else classes))]
    )
    target = torch.tensor([data.draw(st.integers(0, classes - 1))])
    sums = score_sums(study, logits, target)
    entries = np.concatenate(list(sums.values()))
    assert np.isfinite(entries).all()
    assert (entries >= 0).all()
    assert (entries <= 1).all()
    assert np.linalg.norm(entries) <= score_sensitivity(study) + 1e-9


def test_the_promised_sensitivity_is_not_far_above_what_can_happen() -> None:
    sums = score_sums(BINARY, torch.tensor([[0.0]]), torch.tensor([1]))
    surely_wrong = score_sums(BINARY, torch.tensor([[-60.0]]), torch.tensor([1]))
    norms = [np.linalg.norm(np.concatenate(list(s.values()))) for s in (sums, surely_wrong)]
    assert max(norms) == pytest.approx(2.0)  # all but `correct`, which a wrong case cannot have
    assert score_sensitivity(BINARY) < 2.25


@pytest.mark.parametrize("study", [BINARY, THREE], ids=["binary", "three classes"])
def test_sums_fill_the_segments_that_the_plan_announces(study) -> None:
    segments = score_segments(study)
    logits, target = cases(len(study.task.classes), 50, 0)
    layout = Layout(segments)
    for batch in ((logits, target), (logits[:0], target[:0])):
        sums = score_sums(study, *batch)
        assert layout.join(sums).size == layout.length
    assert {segment.bound for segment in segments} == {float(study.secure_sum.max_cases)}
    parts = layout.part(layout.join(score_sums(study, logits, target)))
    assert metrics(study, parts | {"update/shared": np.ones(3)}) == metrics(study, parts), "others are ignored"


@pytest.mark.parametrize("study", [BINARY, THREE], ids=["binary", "three classes"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 40), sd=st.sampled_from([0.5, 5.0, 500.0]))
def test_noise_gives_numbers_in_range_or_none(study, seed: int, n: int, sd: float) -> None:
    random = np.random.default_rng(seed)
    logits, target = cases(len(study.task.classes), n, seed)
    sums = {
        name: value + random.normal(0, sd, value.shape) for name, value in score_sums(study, logits, target).items()
    }
    found = metrics(study, sums)
    assert found["cases"] >= 0
    most = {"auc": 1, "accuracy": 1, "calibration_error": 1, "log_loss": LOG_LOSS_CAP, "brier": 2}
    for name, limit in most.items():
        value = found[name]
        assert math.isnan(value) or -1e-12 <= value <= limit + 1e-12


@pytest.mark.parametrize("study", [BINARY, THREE], ids=["binary", "three classes"])
def test_nobody_gives_nothing(study) -> None:
    logits, target = cases(len(study.task.classes), 5, 0)
    found = metrics(study, score_sums(study, logits[:0], target[:0]))
    assert found["cases"] == 0
    assert all(math.isnan(found[name]) for name in ("auc", "accuracy", "log_loss", "brier", "calibration_error"))


def test_one_class_alone_has_no_auc_but_has_accuracy() -> None:
    logits, _ = cases(2, 20, 0)
    found = metrics(BINARY, score_sums(BINARY, logits, torch.ones(20, dtype=torch.long)))
    assert math.isnan(found["auc"])
    assert 0 <= found["accuracy"] <= 1


def test_calibration_error_tells_honest_from_boastful() -> None:
    random = np.random.default_rng(0)
    share = random.random(20_000)
    target = torch.tensor((random.random(20_000) < share).astype(np.int64))
    honest = torch.tensor(np.log(share / (1 - share)))[:, None]
    assert metrics(BINARY, score_sums(BINARY, honest, target))["calibration_error"] < 0.02
    boastful = torch.full((20_000, 1), math.log(0.95 / 0.05))
    error = metrics(BINARY, score_sums(BINARY, boastful, target))["calibration_error"]
    assert error == pytest.approx(0.95 - float(target.double().mean()), abs=0.006)  # half a bin


def test_a_sure_mistake_costs_the_cap() -> None:
    found = metrics(BINARY, score_sums(BINARY, torch.tensor([[-80.0]]), torch.tensor([1])))
    assert found["log_loss"] == LOG_LOSS_CAP
    assert found["accuracy"] == 0


@pytest.mark.parametrize("study", [BINARY, THREE], ids=["binary", "three classes"])
def test_the_loss_is_one_number_a_row_and_no_row_knows_another(study) -> None:
    logits, target = cases(len(study.task.classes), 30, 4)
    rows = loss_rows(study, logits, target)
    assert rows.shape == (30,)
    assert torch.allclose(rows[[4, 9]], loss_rows(study, logits[[4, 9]], target[[4, 9]]))
    assert loss_rows(study, logits[:0], target[:0]).shape == (0,)
    full = np.hstack([1 - shares_of(logits), shares_of(logits)]) if study is BINARY else shares_of(logits)
    assert np.allclose(rows, -np.log(full[np.arange(30), target]))
