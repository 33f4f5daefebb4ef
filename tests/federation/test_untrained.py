"""A modality of too few sites: absent in training, in scores and in the model, and everybody is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file

from client.data.cohort import Cohort
from client.data.prepare import prepare
from client.data.statistics import statistic_sums
from client.site import read_site
from common.models.batch import Batch
from common.models.network import build_network
from common.study import Study, study_text
from deploy.cli import commands
from deploy.research.simulation.faults import Loss
from deploy.research.simulation.simulate import Simulation, simulate
from tests.support.federation import Hearing, private, run, small_hospitals
from tests.support.scripted import NAMES, PLAIN, PRIVATE, Hospitals, cohort_of, refused
from tests.support.tiny import study_of

GENES = "genes"


def with_genes(folder: Path, number: int) -> tuple[Study, tuple[Path, ...], str]:
    """Four hospitals and their study; so many of them have genes, and the name of the first that has."""
    study, folders = small_hospitals(folder)
    having = [folder for folder in folders if GENES in read_site(folder).file.modalities]
    for one in having[number:]:
        content = yaml.safe_load((one / "site.yaml").read_text())
        del content["sequences"]
        (one / "site.yaml").write_text(yaml.safe_dump(content))
    return study, folders, read_site(having[0]).file.site


@pytest.fixture(scope="module")
def two_with_genes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...]]:
    """Four hospitals, of which two alone have genes."""
    study, folders, _ = with_genes(tmp_path_factory.mktemp("hospitals") / "made", 2)
    return study, folders


def test_a_modality_of_two_of_four_sites_stays_at_its_start_and_moves_no_output(two_with_genes, tmp_path) -> None:
    """Its encoder stood at its random start, bit for bit, and fed the fusion."""
    study, folders = two_with_genes
    outcome, evidence = run(study, folders, tmp_path, compare=True)
    assert outcome.untrained == (GENES,)
    assert [GENES in line for line in evidence.warnings] == [True]
    path = tmp_path / "model.safetensors"
    with safe_open(path, "pt") as file:
        assert file.metadata()["untrained"] == GENES
    network, state = build_network(study), load_file(path)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    moved = {name for name in start if not torch.equal(start[name], state[name])}
    assert moved and not any(name.startswith(f"encoders.{GENES}.") for name in moved)
    network.load_state_dict(state)
    network.eval()
    for folder in folders:
        test = prepare(read_site(folder), study).test
        with torch.no_grad():
            said = network(test.inputs, test.present)
            unseen = network(dict(test.inputs) | {GENES: torch.randn_like(test.inputs[GENES])}, test.present)
            absent = network(
                test.only(set(study.names) - {GENES}).inputs, test.only(set(study.names) - {GENES}).present
            )
        assert torch.equal(said, unseen) and torch.equal(said, absent)
    federated, *_ = evidence.comparisons
    left = [prepare(read_site(folder), study).test.only(set(study.names) - {GENES}) for folder in folders]
    assert federated.metrics["cases"] == len(Batch.join(left).with_any())
    assert {row.present[GENES] for row in evidence.coverage} == {"not trained"}


def test_study_check_names_it_before_anything_is_run(two_with_genes, tmp_path) -> None:
    """Who was about to run a study over its hospitals heard of it in the run's report alone."""
    study, folders = two_with_genes
    having = [read_site(folder).file.site for folder in folders if GENES in read_site(folder).file.modalities]
    path = tmp_path / "study.yaml"
    path.write_text(study_text(study), encoding="utf-8")
    done = CliRunner().invoke(commands, ["study", "check", str(path), "--hospitals", str(folders[0].parent)])
    assert done.exit_code == 0, done.output
    [said] = [line for line in done.output.splitlines() if "NOT TRAINED" in line]
    assert f"{GENES}: NOT TRAINED. 2 of 4 sites ({', '.join(having)})" in said and "3 are needed" in said
    path.write_text(study_text(replace(study, secure_sum=replace(study.secure_sum, enabled=False))), encoding="utf-8")
    done = CliRunner().invoke(commands, ["study", "check", str(path), "--hospitals", str(folders[0].parent)])
    assert done.exit_code == 0 and "NOT TRAINED" not in done.output


def test_a_private_run_masks_it_too(two_with_genes, tmp_path) -> None:
    study, folders = two_with_genes
    outcome, evidence = run(private(study), folders, tmp_path)
    assert outcome.untrained == (GENES,)
    assert evidence.coverage[0].present[GENES] == "not trained"  # what was summed is noise over nobody
    assert 0.25 < drawn_of(study, folders, outcome.statistics) / evidence.coverage[0].noise < 2.0  # nine draws
    assert {row.noise for row in evidence.coverage[1:]} == {0.0}  # a simulation may look at its sites


def drawn_of(study: Study, folders: tuple[Path, ...], sums: dict[str, np.ndarray]) -> float:
    """The root mean square of the noise that a private run drew into its statistics."""
    used = set(study.names) - {GENES}
    exact = [statistic_sums(study, prepare(read_site(folder), study).seen_with(used)) for folder in folders]
    noise = [sums[name] - sum(site[name] for site in exact) for name in sums]
    return float(np.sqrt(np.mean(np.concatenate(noise) ** 2)))


@pytest.fixture(scope="module")
def three_with_genes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...], str]:
    """Four hospitals, of which three have genes, and one of these."""
    study, folders, first = with_genes(tmp_path_factory.mktemp("three") / "made", 3)
    return private(study), folders, first


@pytest.mark.parametrize(("lost", "trained"), [pytest.param((2, 3, 4, 5), 0, id="in all rounds"),
                                             pytest.param((2, 3), 2, id="in one", marks=pytest.mark.soak)])  # fmt: skip
def test_a_modality_that_loses_its_owners_in_the_middle_of_a_run_is_told(
    three_with_genes, tmp_path, lost, trained
) -> None:
    """Its encoder stood at its random start after all rounds, and report and model called it trained."""
    study, folders, site = three_with_genes
    told = list[str]()
    losses = tuple(Loss(site, sum, "join") for sum in lost)
    plan = Simulation(study, folders, tmp_path, workers=2, losses=losses, compare=False)
    outcome, evidence = simulate(plan, Hearing(told))
    assert outcome.untrained == ((GENES,) if trained == 0 else ())
    warning, *of_scores = [line for line in evidence.warnings if GENES in line]
    assert ("NOT trained" if trained == 0 else f"trained in {trained} of 3 rounds alone") in warning
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata()["untrained"] == (GENES if trained == 0 else "")
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a file of tensors is no dict)
    start = build_network(study).state_dict()
    encoder = [name for name, _ in build_network(study).named_parameters() if name.startswith(f"encoders.{GENES}.")]
    assert all(torch.equal(start[name], weights[name]) for name in encoder) == (trained == 0)
    gone = [line for line in told if f"{GENES} is in no sum from this round on" in line]
    back = [line for line in told if f"{GENES} is in the sums again" in line]
    assert len(gone) == len(back) == 1
    if trained:
        assert ["validation score of the model of round 0 was taken without" in line for line in of_scores] == [True]
    else:  # back for the scores at the end: that it is absent in every score was said
        assert "every score" not in warning and "was taken with it nevertheless" in warning and not of_scores


def lonely_cohorts(study: Study, *, panels: bool) -> dict[str, Cohort]:
    """Charts everywhere, panels at two sites, where three patients of each part have nothing else; or without all
    panels, and so without these patients.
    """
    made = {}
    for place, name in enumerate(NAMES):
        cohort = cohort_of(study, name, seed=10 * place)
        parts = {"train": cohort.train, "validation": cohort.validation, "test": cohort.test}
        for part in parts.values():
            part.present[:3, 0] = False
        if place >= 2 or not panels:
            parts = {part: batch.only(["chart"]).with_any() for part, batch in parts.items()}
        owned = study.names if place < 2 and panels else ("chart",)
        made[name] = replace(cohort, owned=owned, **parts)
    return made


@pytest.mark.parametrize(
    "asked",
    [
        {"round": 0, "asks": ("statistics",)},
        {"round": 1},
        {"round": 2, "asks": ("validation",)},
        {"round": 5, "asks": ("test",)},
    ],
    ids=["statistics", "training", "validation", "test"],
)
def test_patients_who_have_nothing_else_are_in_no_sum(tmp_path, asked) -> None:
    """The sums are those of hospitals that never had it."""
    study = study_of("chart", "panel", **PLAIN)
    opened = []
    for panels in (True, False):
        them = Hospitals(tmp_path / str(panels), study, cohorts=lonely_cohorts(study, panels=panels))
        opened.append(them.summed(1, owners={"shared": NAMES, "chart": NAMES}, **asked))
    with_panels, without = opened
    assert with_panels.keys() == without.keys()
    for name, value in with_panels.items():
        assert np.array_equal(value, without[name]), name
    cases = {"cases": [36, 36, 36], "weight/shared": [36], "weight/chart": [36]}
    assert all(with_panels[name].tolist() == cases[name] for name in cases.keys() & with_panels.keys())


def test_who_leaves_is_counted_at_the_site() -> None:
    study = study_of("chart", "panel", **PLAIN)
    cohort = lonely_cohorts(study, panels=True)["east"]
    seen = cohort.seen_with(["chart"])
    assert [len(part) for part in (seen.train, seen.validation, seen.test)] == [9, 9, 9]
    assert seen.counts == {"patients with only panel, not used in this run": 9}
    assert seen.owned == ("chart",) and seen.version != cohort.version
    assert cohort.seen_with(study.names) is cohort


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
def test_the_modalities_of_a_run_are_decided_once(tmp_path, mode) -> None:
    """A coordinator that could choose them in each round would sum the same patients with and without."""
    study = study_of("chart", "panel", **mode)
    them = Hospitals(tmp_path, study)
    both, charts = dict.fromkeys(("shared", "chart", "panel"), NAMES), dict.fromkeys(("shared", "chart"), NAMES)
    sum = them.offered(1, round=0, asks=("statistics",))
    for owners in (charts, {"shared": NAMES}, {"chart": NAMES, "panel": NAMES}):
        assert refused(them, NAMES[0], them.round_request(sum, owners=owners)) == "secure_sum"
    them.revealed(them.confirmed(them.masked(sum)))
    sum = them.offered(2, round=1, owners=charts)
    assert refused(them, NAMES[0], them.round_request(sum)) == "secure_sum"
    them.revealed(them.confirmed(them.masked(replace(sum, plan=replace(sum.plan, owners=both)))))
