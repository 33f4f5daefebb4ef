"""The planted signal: as strong as promised, and still there in the files that a hospital exports."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from deploy.research.synthetic.generate import generate
from deploy.research.synthetic.strength import KINDS as PLANTED
from deploy.research.synthetic.strength import Strength
from tests.support.hospitals import KINDS, Told, told


@pytest.fixture(scope="module", params=[0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2))])
def export(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    directory = tmp_path_factory.mktemp("hospitals") / "made"
    generate(directory, seed=request.param)
    return told(directory)


def on_all(export: Told, scores: NDArray[np.float64]) -> float:
    """The AUC over all patients; who lacks the modality is scored 0."""
    return float(roc_auc_score(export.label, np.nan_to_num(scores)))


def test_each_modality_alone_is_weak_and_together_they_are_strong(export: Told) -> None:
    alone = {kind: on_all(export, export.best[kind]) for kind in KINDS}
    assert all(0.65 <= value <= 0.80 for value in alone.values()), alone
    fusion = on_all(export, export.best["fusion"])
    assert 0.90 <= fusion <= 0.95
    assert fusion - max(alone.values()) >= 0.12


def test_a_modality_scores_where_it_is_present_what_the_arithmetic_says(export: Told) -> None:
    strength = Strength()
    for kind in PLANTED:
        here = export.present(kind)
        found = roc_auc_score(export.label[here], export.best[kind][here])
        error = math.sqrt(found * (1 - found) / (here.sum() / 4))  # generous: Hanley and McNeil 1982 give less
        assert abs(found - strength.auc(kind)) < 3 * error
        assert abs(on_all(export, export.best[kind]) - strength.auc(kind, here.mean())) < 3 * error


def test_logistic_regression_on_the_files_comes_near_the_best_possible(export: Told) -> None:
    order = np.random.default_rng(0).permutation(len(export.label))
    test, train = order[: len(order) // 3], order[len(order) // 3 :]
    learned = np.zeros(len(order))
    for kind in KINDS:
        here = export.present(kind)
        fit, judge = train[here[train] & export.labelled[train]], test[here[test]]
        features = np.nan_to_num(StandardScaler().fit(export.carriers[kind][fit]).transform(export.carriers[kind]))
        model = LogisticRegression(C=0.03).fit(features[fit], export.label[fit])
        score = model.decision_function(features)
        possible = roc_auc_score(export.label[judge], export.best[kind][judge])
        assert roc_auc_score(export.label[judge], score[judge]) >= possible - 0.05, kind
        learned += np.where(here, score, 0.0)
    assert roc_auc_score(export.label[test], learned[test]) >= 0.88


def test_a_film_tells_as_much_at_every_hospital(export: Told) -> None:
    """Percentiles undo the scanners: within a class, brightness follows the latent alike at all of them."""
    for site in np.unique(export.site):
        for label in (0, 1):
            chosen = (export.site == site) & (export.label == label) & export.present("image")
            if chosen.sum() >= 30:
                found = np.corrcoef(export.carriers["image"][chosen, 0], export.best["image"][chosen])[0, 1]
                assert found > 0.75, site


@pytest.mark.parametrize("present", [1.0, 0.6])
def test_the_arithmetic_of_strength_holds_in_a_large_draw(present: float) -> None:
    rng = np.random.default_rng(7)
    strength, n = Strength(), 40_000
    label = rng.integers(0, 2, n)
    for kind in PLANTED:
        latent = (label - 0.5) * strength.d(kind) + rng.standard_normal(n)
        seen = np.where(rng.random(n) < present, latent, 0.0)
        assert abs(roc_auc_score(label, seen) - strength.auc(kind, present)) < 0.01
