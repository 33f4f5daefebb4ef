"""Without privacy: what updates show of single patients, by honest requests. Four sites, all wait, `smallest_part` 10.

The first tests are of what is refused. The others are of what is not, each named in SECURITY.md: they hold that page to
what is true. The coordinator knows the study, and so its seed, and the layout of the parameters.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from client.training.gradient import _generator, _minibatches
from common.messages import Refusal
from common.modalities.record import RecordColumns, RecordModality
from common.models.batch import Batch
from common.models.network import build_network
from common.parameters import flatten
from common.scores import loss_rows
from common.study import Study
from tests.client.test_shown_by_differences import SCORES, STATISTICS, Sums, cohorts_of, hospitals
from tests.support.scripted import ME, NAMES, PLAIN, Hospitals, normalised_study, refused
from tests.support.tiny import study_of

PATIENTS = 20  # training patients of each site
SEED = 6700  # ground in five seconds: of three sites the same patient is left out of rounds 1 and 2, of ME another one
Vector = NDArray[np.float64]


def one_step(batch: int, seed: int = 0) -> Study:
    return study_of("chart", "panel", **PLAIN, seed=seed, training={"local_steps": 1, "batch_size": batch})


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_round_on_one_patient_of_each_site_is_refused(tmp_path: Path) -> None:
    """Its sum was four single patients' gradients."""
    study = one_step(batch=9)
    them = hospitals(tmp_path, study, cohorts_of(study))
    assert them.answer(ME, them.invitation(1)) == Refusal("policy")


def test_no_clock_makes_a_round_one_of_few_patients(tmp_path: Path) -> None:
    """Where sites show lost ones, a coordinator's time box stops them: behind the second step here, of four patients
    each.
    """
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=cohorts_of(study), smallest_part=10, lost_site="show")
    site, steps = them.sites[ME].site, list[int]()
    assert them.ask(ME, them.round_request(them.offered(1, round=1))).steps == study.training.local_steps

    def slow(what: str, done: int, total: int) -> None:
        steps.append(done)
        time.sleep(2.1 if done == 2 else 0.0)

    site.progress = slow
    assert refused(them, ME, them.round_request(them.offered(2, round=2), seconds=2.0)) == "policy"
    assert steps == [1, 2]
    site.progress = lambda *_: None
    them.ask(ME, them.round_request(them.offered(3, round=2), seconds=600.0))


# --------------------------------------------------------------------------------------------- what is not refused


def drawn(study: Study, site: str, round_: int) -> list[int]:
    """The patients of a site's first step, by the study alone and how many there are."""
    return sorted(
        next(_minibatches(PATIENTS, study.training.batch_size, _generator(study.seed, site, round_))).tolist()
    )


def change(study: Study, train: Batch, rows: list[int]) -> Vector:
    """What one step on these patients changes of the study's first weights."""
    network = build_network(study)
    some = train.rows(torch.tensor(rows))
    parameters = [one for one in network.parameters() if one.requires_grad]
    loss = loss_rows(study, network(some.inputs, some.present), some.target).mean()
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    before = flatten(network).astype(np.float64)
    with torch.no_grad():
        for own, gradient in zip(parameters, found, strict=True):
            own.sub_(study.training.learning_rate * gradient)
    return flatten(network).astype(np.float64) - before


def update(them: Hospitals, sums: Sums) -> Vector:
    whole = np.zeros(them.parameters.length)
    for group in them.parameters.groups:
        whole[them.parameters.slice(group)] = sums[f"update/{group}"]
    return whole


def test_an_update_is_of_the_patients_whom_the_public_seed_draws(tmp_path: Path) -> None:
    """Ten of twenty of each site, and the coordinator knows which."""
    study = one_step(batch=10)
    them = hospitals(tmp_path, study, cohorts_of(study))
    got = update(them, them.summed(1, round=1))
    them_all = sum(PATIENTS * change(study, them.cohorts[name].train, drawn(study, name, 1)) for name in NAMES)
    assert np.linalg.norm(got - them_all) < 0.01 * np.linalg.norm(them_all)


def test_two_rounds_under_the_same_weights_differ_by_two_patients_of_one_site(tmp_path: Path) -> None:
    """With a seed that was ground, and the first weights sent twice: nothing crafted, no site left out."""
    study = one_step(batch=PATIENTS - 1, seed=SEED)
    assert [name for name in NAMES if drawn(study, name, 1) != drawn(study, name, 2)] == [ME]
    them = hospitals(tmp_path, study, cohorts_of(study))
    one, two = (update(them, them.summed(round_, round=round_)) for round_ in (1, 2))
    (left,) = {*drawn(study, ME, 2)} - {*drawn(study, ME, 1)}
    (came,) = {*drawn(study, ME, 1)} - {*drawn(study, ME, 2)}
    train = them.cohorts[ME].train
    two_of_them = PATIENTS / (PATIENTS - 1) * (change(study, train, [came]) - change(study, train, [left]))
    assert np.linalg.norm(one - two - two_of_them) < 0.05 * np.linalg.norm(two_of_them)


def test_enough_rounds_under_the_same_weights_tell_the_patients_of_a_site_apart() -> None:
    """By the draws alone, with exact sums: one step of 16 of 20 patients, four sites. Which combination of the rounds'
    sums is the difference of two patients' gradients.
    """
    study, rounds, of_all = one_step(batch=16), 78, len(NAMES) * PATIENTS
    sums = np.zeros((rounds, of_all))
    for round_ in range(rounds):
        for place, name in enumerate(NAMES):
            sums[round_, place * PATIENTS + np.array(drawn(study, name, round_ + 1))] = PATIENTS / 16
    wanted = np.zeros(of_all)
    wanted[[3, 7]] = 1, -1
    combination = wanted @ np.linalg.pinv(sums)
    assert combination @ sums == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("secret", [7.31, 1.234])
def test_a_value_that_one_patient_has_is_read_from_one_honest_round(tmp_path: Path, secret: float) -> None:
    """Its moments are zeros. The weights of the column and of its gap move by this patient alone."""
    study = normalised_study()
    chart = study.modalities["chart"]
    assert isinstance(chart, RecordModality)
    columns, place = RecordColumns.of(chart), list(chart.numeric).index("dose")
    cohorts = cohorts_of(study)
    for name, cohort in cohorts.items():
        record = cohort.train.inputs["chart"]
        record[:, columns.missing] = 0.0
        record[:, columns.missing.start + place] = 1.0
        record[:, place] = 0.0
        if name == ME:
            record[3, columns.missing.start + place] = 0.0
            record[3, place] = secret
    them = hospitals(tmp_path, study, cohorts)
    assert them.summed(1, **STATISTICS)["moments/chart"].reshape(-1, 3)[place] == pytest.approx([0, 0, 0])
    flat, first = np.asarray(them.summed(2, round=1)["update/chart"], dtype=np.float64), columns.width
    hidden = next(one.shape[0] for one in build_network(study).parameters() if one.shape[1:] == (first,))
    weight, bias = flat[: hidden * first].reshape(hidden, first), flat[hidden * first : hidden * (first + 1)]
    own = bias - weight[:, columns.missing.start + place]
    low, high = chart.numeric["dose"].low, chart.numeric["dose"].high
    read = float(weight[:, place] @ own / (own @ own)) * (high - low) / 4 + (low + high) / 2
    assert read == pytest.approx(secret, abs=0.05)


def test_the_score_of_the_only_patient_of_a_class_is_in_the_histogram(tmp_path: Path) -> None:
    study = study_of("chart", "panel", **PLAIN)
    cohorts = cohorts_of(study)
    for cohort in cohorts.values():
        cohort.validation.target[:] = 0
    cohorts[ME].validation.target[4] = 1
    them = hospitals(tmp_path, study, cohorts)
    bins = np.asarray(them.summed(1, **SCORES)["scores/histogram"]).reshape(2, -1)[1].round()
    network, one = build_network(study).eval(), cohorts[ME].validation.rows(torch.tensor([4]))
    score = float(torch.sigmoid(network(one.inputs, one.present))[0, 0])
    assert np.flatnonzero(bins).tolist() == [int(score * bins.size)]
