"""Whole studies over synthetic hospitals: every part real, from DICOM files to the global model."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.errors import CheckpointError, CohortError, RunError
from common.study import Study
from deploy.research.simulation.faults import Loss
from tests.support.federation import private, run, small_hospitals


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...]]:
    return small_hospitals(tmp_path_factory.mktemp("hospitals") / "made")


@pytest.fixture(scope="module")
def plain_weights(hospitals, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The global model of an undisturbed run, without privacy."""
    study, folders = hospitals
    outcome, _ = run(study, folders, tmp_path_factory.mktemp("undisturbed"))
    return outcome.weights


def last_weights(folder: Path) -> np.ndarray:
    with np.load(folder / "checkpoint.npz") as stored:
        return stored["array/weights"]


def test_the_same_study_gives_the_same_model_bit_for_bit(hospitals, plain_weights, tmp_path):
    study, folders = hospitals
    outcome, evidence = run(study, folders, tmp_path)
    assert np.array_equal(outcome.weights, plain_weights)
    assert len(evidence.rounds) == study.rounds + 1
    assert all(entry.sites == 4 and entry.dropped == 0 for entry in evidence.rounds)


def test_the_secure_sum_changes_the_model_by_no_more_than_rounding(hospitals, plain_weights, tmp_path):
    study, folders = hospitals
    open_study = replace(study, secure_sum=replace(study.secure_sum, enabled=False))
    run(open_study, folders, tmp_path / "open")
    run(study, folders, tmp_path / "summed")
    # Both ways add the same rounded words; only a sum's opening differs, and it is exact.
    assert np.array_equal(last_weights(tmp_path / "open"), last_weights(tmp_path / "summed"))


@pytest.mark.parametrize(("leg", "number"), [("offer", 1), ("round", 2), ("confirm", 2), ("reveal", 2)])
def test_one_of_four_sites_may_vanish_in_any_leg(hospitals, tmp_path, leg, number):
    """The first sum's offers have a leg of their own; later ones ride on the last replies of the sum before."""
    study, folders = hospitals
    name = folders[1].name
    outcome, evidence = run(study, folders, tmp_path, losses=(Loss(name, number, leg),))
    assert np.isfinite(outcome.weights).all()
    first = evidence.rounds[number - 1]
    assert first.dropped == 1
    assert first.drop_reasons == {f"{leg}: connection lost": 1}
    # Lost before it offered: the round goes on with three, without the groups that then have too few owners. Lost
    # while it worked: the three refuse to open such a group, and the round is played again with the site back.
    assert first.sites == (3 if leg == "offer" else 4)
    assert evidence.rounds[number].sites == 4, "a site that was lost is back in the next round"
    if leg == "round":  # both attempts sent the weights and trained
        once = evidence.rounds[number]
        assert first.bytes_down > 1.8 * once.bytes_down and first.steps > 1.6 * once.steps


@pytest.mark.parametrize("torn", ["", '{"format": 1, ', '{"format": 99}'])
def test_a_report_that_was_torn_is_written_anew_and_one_of_a_newer_release_is_not(hospitals, tmp_path, torn):
    """`finish` says to resume a run that came to its end, and the resume said to take the report of a finished run."""
    study, folders = hospitals
    study = replace(study, rounds=1)
    first, _ = run(study, folders, tmp_path)
    (tmp_path / "report.json").write_text(torn)
    with pytest.raises(RunError, match="newer release") if "99" in torn else nullcontext():
        again, _ = run(study, folders, tmp_path, resume=True)
        assert np.array_equal(first.weights, again.weights)


def test_two_of_four_sites_lost_stops_the_run_and_says_who(hospitals, tmp_path):
    study, folders = hospitals
    away = tuple(Loss(folder.name, number, "round") for folder in folders[:2] for number in range(2, 9))
    with pytest.raises(RunError, match="--resume") as caught:
        run(study, folders, tmp_path, losses=away)
    assert all(folder.name in str(caught.value) for folder in folders[:2])
    outcome, _ = run(study, folders, tmp_path, resume=True)
    assert np.isfinite(outcome.weights).all(), "nothing was lost: the run goes on"


def test_a_run_whose_test_was_played_twice_tells_its_threshold(hospitals, tmp_path):
    """Sites that were lost are in the second attempt's sum: together they are more than there are sites."""
    study, folders = hospitals
    study = replace(study, secure_sum=replace(study.secure_sum, threshold=3))
    test = study.rounds + 3  # the last of the sums, which are counted from 1
    outcome, evidence = run(
        study, folders, tmp_path, losses=tuple(Loss(folder.name, test, "round") for folder in folders[:2])
    )
    assert outcome.sites == 4
    assert evidence.threshold == 3


def test_a_private_run_spends_what_it_says_and_never_more(hospitals, tmp_path):
    study, folders = hospitals
    study = private(study)
    _, evidence = run(study, folders, tmp_path)
    spent = [entry.epsilon for entry in evidence.rounds]
    assert all(value is not None and 0 < value <= study.privacy.epsilon for value in spent)
    assert spent == sorted(spent)
    held_out = [entry.held_out_epsilon for entry in evidence.rounds]
    assert all(value is not None and value <= study.privacy.epsilon for value in held_out)


def test_two_private_runs_differ_though_the_seed_is_the_same(hospitals, tmp_path):
    study, folders = hospitals
    study = private(study)
    first, _ = run(study, folders, tmp_path / "a")
    second, _ = run(study, folders, tmp_path / "b")
    assert not np.array_equal(first.weights, second.weights), "noise must not come from the study's seed"


def test_a_modality_with_two_owners_is_left_out_of_the_sum(hospitals, tmp_path):
    study, folders = hospitals
    kept = list(folders)
    outcome, _ = run(study, tuple(kept[:3]), tmp_path)
    from client.site import read_site
    from common.models.network import build_network
    from common.parameters import Parameters, flatten

    network = build_network(study)
    parameters, start = Parameters.of(network), flatten(network)
    owners = {name: sum(name in read_site(folder).file.modalities for folder in kept[:3]) for name in study.names}
    lonely = [name for name, count in owners.items() if count < 3]
    assert lonely, "the synthetic hospitals differ in what they have"
    final = last_weights(tmp_path)
    for name in study.names:
        moved = not np.array_equal(final[parameters.slice(name)], start[parameters.slice(name)])
        assert moved == (name not in lonely)
    assert outcome.sites == 3


def test_a_checkpoint_of_another_study_is_refused(hospitals, tmp_path):
    study, folders = hospitals
    run(study, folders, tmp_path)
    with pytest.raises(CheckpointError, match="another study"):
        run(replace(study, rounds=9), folders, tmp_path, resume=True)
    with pytest.raises(RunError, match="holds a run already"):
        run(study, folders, tmp_path)


def test_a_modality_that_no_site_has_is_said_before_anything_is_written(hospitals, tmp_path):
    study, folders = hospitals
    extra = dict(study.modalities) | {"voice": next(iter(study.modalities.values()))}
    with pytest.raises(CohortError, match=r"modalities\.voice"):
        run(replace(study, modalities=extra), folders, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_a_modality_without_parameters_is_normalised_by_its_summed_statistics(hospitals, tmp_path):
    study, folders = hospitals
    record = study.modalities["record"]
    bare = replace(record, normalise="secure_sum", encoder=replace(record.encoder, hidden=[]))
    outcome, _ = run(replace(study, modalities={**study.modalities, "record": bare}, rounds=1), folders, tmp_path)
    mean, sd = outcome.normaliser["record"]
    assert mean.shape == sd.shape == (len(record.numeric),) and np.isfinite(mean).all() and (sd > 0).all()
    counted = outcome.statistics["moments/record"].reshape(-1, 3)
    assert (counted[:, 0] > 10).all()
