"""Runs without privacy over sites that give no sum over others than before: they wait for who is lost, or end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from client.exact_sums.sum_records import SumRecords
from client.site import read_site
from common.disk.audit import Audit, Joined, Refused
from common.study import Study
from deploy.research.simulation.enrol import enrol
from deploy.research.simulation.faults import Loss
from deploy.research.simulation.grid import InProcessGrid, SitePlace
from deploy.research.simulation.simulate import Simulation, simulate
from server.report.page import render
from server.run.checkpoint import read
from server.run.finish import finish
from server.run.lost_sites import LostSiteError
from server.run.observer import Unwatched
from server.run.run import Run
from tests.support.federation import small_hospitals
from tests.support.reading import read_page
from tests.support.site_policies import without_privacy


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...]]:
    folder = tmp_path_factory.mktemp("lost") / "made"
    study, folders = small_hospitals(folder)
    without_privacy(folders[0].parent, "wait")
    return study, folders


def played(made: tuple[Study, tuple[Path, ...]], folder: Path, losses: Sequence[Loss]) -> list[tuple[int, int]]:
    """Round, and the number of sites that were summed in it."""
    study, folders = made
    outcome, _ = simulate(Simulation(study, folders, folder, workers=2, losses=tuple(losses), compare=False))
    assert np.isfinite(outcome.weights).all()
    state = read(folder / "checkpoint.npz", study.digest)
    return [(entry["round"], entry["sites"]) for entry in state.history]


def names(made: tuple[Study, tuple[Path, ...]]) -> list[str]:
    return [read_site(folder).file.site for folder in made[1]]


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, tuple[Path, ...]]:
    folder = tmp_path_factory.mktemp("eight") / "made"
    study, folders = small_hospitals(folder, sites=8)
    without_privacy(folders[0].parent, "wait")
    return replace(study, rounds=1), folders


@pytest.mark.parametrize("several", ["made", pytest.param("eight", marks=pytest.mark.soak)])
def test_a_round_that_lost_a_site_is_summed_again_with_it(tmp_path, request, several) -> None:
    """Its vector did not come, and the others confirm no sum without it, however many they are. It is back for the next
    number.
    """
    made = request.getfixturevalue(several)
    lost = names(made)[1]
    rounds = played(made, tmp_path / "run", [Loss(lost, 3, "round")])
    assert rounds == [(number, len(made[1])) for number in range(made[0].rounds + 3)]
    for name in names(made):
        for several in SumRecords(tmp_path / "run" / "sites" / name).kept().values():
            assert len(several) == 1, "a second set of sites was opened"


@pytest.mark.parametrize("number", [pytest.param(1, marks=pytest.mark.soak), 3])
def test_a_site_that_is_lost_before_it_confirms_is_waited_for(tmp_path, made, number) -> None:
    """Its vector came. The others confirmed a sum with it, and keep that set: only the same four are summed again."""
    lost = names(made)[1]
    rounds = played(made, tmp_path / "run", [Loss(lost, number, "confirm")])
    assert rounds == [(number, 4) for number in range(made[0].rounds + 3)]
    for name in names(made):
        kept = SumRecords(tmp_path / "run" / "sites" / name).kept()
        assert all(len(several) == 1 for several in kept.values()), "a second set of sites was confirmed"


def test_where_one_site_waits_the_others_sign_anew_and_no_attempt_is_lost(tmp_path) -> None:
    """They learn of it in the first sum, and have signed for the second that they know of nobody who waits."""
    study, folders = small_hospitals(tmp_path / "made")
    without_privacy(folders[0].parent, "show")
    without_privacy(folders[1].parent, "wait", of=folders[1].name)
    assert played((study, folders), tmp_path / "run", []) == [(number, 4) for number in range(study.rounds + 3)]
    assert read(tmp_path / "run" / "checkpoint.npz", study.digest).attempt == 1
    for folder in folders:
        events = [line.event for line in Audit(tmp_path / "run" / "sites" / folder.name / "audit.jsonl").events()]
        refused = [event.code for event in events if isinstance(event, Refused)]
        assert refused == ([] if folder == folders[1] else ["out_of_order"])
        joined = [event.number for event in events if isinstance(event, Joined)]
        assert joined == [0, 1, 3], "before the run, at its beginning, and anew"


@dataclass
class Heard(Unwatched):
    """What a run tells a person."""

    said: list[str] = field(default_factory=list)

    def told(self, sentence: str) -> None:
        self.said.append(sentence)


def test_a_time_box_is_left_out_where_sites_wait_and_the_run_goes_on(tmp_path, made) -> None:
    """They refuse it: the steps that a clock cuts off would show the site that did them."""
    study, folders = made
    places = [SitePlace(folder, tmp_path / name) for folder, name in zip(folders, names(made), strict=True)]
    roster = enrol("test", {place.state.name: place.state for place in places})
    nodes, heard = dict(enumerate(names(made), start=1)), Heard()
    with InProcessGrid(study, places, workers=2, log=tmp_path / "log") as grid:
        whole = Run(study, grid, tmp_path, sites=4, roster=roster, nodes=nodes, observer=heard, time_box=1e-6)
        outcome = whole.play()
    steps = [entry.steps for entry in outcome.history[1:]]
    assert steps == [4 * study.training.local_steps] * study.rounds
    assert [sentence for sentence in heard.said if sentence.startswith("--time-box is left out of this run")]


def test_a_late_site_stays_out_of_the_run(tmp_path, made) -> None:
    late = names(made)[2]
    rounds = played(made, tmp_path / "run", [Loss(late, 1, "join"), Loss(late, 2, "join")])
    assert rounds == [(number, 3) for number in range(made[0].rounds + 3)]


def test_a_run_whose_lost_site_stays_away_ends_with_the_model_that_it_has(tmp_path, made) -> None:
    lost, folder = names(made)[3], tmp_path / "run"
    with pytest.raises(LostSiteError, match="wait for exactly the sites of then"):
        played(made, folder, [Loss(lost, number, "join") for number in range(4, 40)])
    state = read(folder / "checkpoint.npz", made[0].digest)
    assert state.round >= 1 and all(entry["sites"] == 4 for entry in state.history)
    evidence = finish(folder)
    assert f"ended after round {state.round} of {made[0].rounds}" in evidence.warnings[-1]
    assert (folder / "model.safetensors").exists()


def test_where_lost_sites_are_shown_the_run_goes_on_without_them(tmp_path) -> None:
    study, folders = small_hospitals(tmp_path / "made")
    lost = read_site(folders[3]).file.site
    losses = [Loss(lost, number, "join") for number in range(3, 40)]
    rounds = played((study, folders), tmp_path / "run", losses)
    assert rounds[0] == (0, 4) and rounds[-1] == (study.rounds + 2, 3)


@pytest.fixture(scope="module")
def lost_again(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Heard, str]:
    """A site that is lost from two rounds and from the scores at the end: its name, what was told, the page."""
    place = tmp_path_factory.mktemp("again")
    study, folders = small_hospitals(place / "made")
    without_privacy(folders[0].parent, "show")
    lost, heard = folders[1].name, Heard()
    losses = tuple(Loss(lost, number, "offer") for number in (2, 3, 4, *range(6, 12)))
    plan = Simulation(study, folders, place / "run", workers=2, losses=losses, compare=False)
    _, evidence = simulate(plan, heard)
    return lost, heard, render(evidence)


def test_the_terminal_says_once_who_is_lost_and_why(lost_again) -> None:
    """It said "1 lost" in each round, and in none who."""
    lost, heard, _ = lost_again
    gone = f"not in this sum, or lost in it: {lost} (offer: connection lost)"
    assert [line for line in heard.said if lost in line] == [gone, f"back: {lost}", gone]


def test_the_report_says_over_how_many_of_the_sites_it_was_tested_and_counted(lost_again) -> None:
    """It said "all sites", though a site was in the statistics and not in the score."""
    *_, page = lost_again
    words = re.sub(r"\s+", " ", read_page(page).text)
    assert "tested on the test patients of 3 of the 4 sites" in words
    assert "one sum over 3 of the 4 sites" in words and "3 of 4 sites in its last sum" in words
    assert "The sum is that of round 0, over all sites" in words
    assert not re.search(r"test patients of all sites|one sum over all sites", words)
