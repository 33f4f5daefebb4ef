"""What the last score and the test add to a report: whom they lost, what they were without, what was spent by then."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from client.ledger.accounts import LEDGER_FILE, judged_at, ledger_of
from client.ledger.ledger import Entry, Ledger
from client.site import read_site
from common.privacy.plan import plan_privacy
from deploy.research.simulation.faults import Loss
from deploy.research.simulation.simulate import Simulation, simulate
from server.report.evidence import Evidence, RoundEvidence
from server.report.page import render
from server.run.finish import finish
from server.run.round_line import line
from tests.federation.test_untrained import GENES, with_genes
from tests.support.federation import Hearing, private, small_hospitals
from tests.support.reading import read_page


class Watching(Hearing):
    """An observer that also keeps each round, and the run's folder as it was after round 2."""

    def __init__(self, sentences: list[str], run: Path) -> None:
        super().__init__(sentences)
        self.run, self.rounds, self.lines = run, list[RoundEvidence](), list[str]()

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        self.rounds.append(evidence)
        self.lines.append(line(evidence, rounds))
        if evidence.round == 2:
            shutil.copytree(self.run, self.run.with_name("stopped"))


def words_of(evidence: Evidence) -> str:
    return re.sub(r"\s+", " ", read_page(render(evidence)).text)


@pytest.fixture(scope="module")
def lost_at_the_end(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Watching, Evidence]:
    """A run of four sites, three with genes, one of which is in no sum after the last round: the score and the test."""
    place = tmp_path_factory.mktemp("end")
    study, folders, site = with_genes(place / "made", 3)
    told = list[str]()
    watching = Watching(told, place / "run")
    losses = tuple(Loss(site, number, "join") for number in range(study.rounds + 2, 12))
    _, evidence = simulate(Simulation(study, folders, place / "run", workers=2, losses=losses, compare=False), watching)
    return told, watching, evidence


def test_who_was_lost_in_the_last_score_and_the_test_is_in_the_reports_rows_and_totals(lost_at_the_end) -> None:
    """The report said that no site dropped out."""
    _, watching, evidence = lost_at_the_end
    lost = {"join: connection lost": 2}
    assert [entry.dropped for entry in watching.rounds] == [0, 0, 0, 0, 1, 1]
    assert sum(entry.dropped for entry in evidence.rounds) == 2
    last = evidence.rounds[-1]
    assert (last.sites, dict(last.drop_reasons)) == (3, lost) and {entry.sites for entry in evidence.rounds[:-1]} == {4}
    for name in ("bytes_up", "bytes_down", "steps"):
        assert sum(getattr(entry, name) for entry in evidence.rounds) == sum(
            getattr(entry, name) for entry in watching.rounds
        )
    words = words_of(evidence)
    assert "A site dropped out 2 times." in words and "3 to 4 sites took part in a round" in words
    assert not re.search("No site dropped out|none dropped out|took part in every round", words)


def test_a_score_that_is_without_a_modality_says_so_in_line_warnings_and_report(lost_at_the_end) -> None:
    """Its test score stood as the model's, and nobody was told."""
    told, watching, evidence = lost_at_the_end
    assert [f"without {GENES}" in said for said in watching.lines] == [False] * 4 + [True] * 2
    assert [f"{GENES} is in no sum from this round on" in said for said in told].count(True) == 1
    of_test, of_validation = (said for said in evidence.warnings if GENES in said)
    assert f"test score was taken WITHOUT the modality {GENES}" in of_test
    assert f"validation score of the model of round 3 was taken without the modality {GENES}" in of_validation
    words = words_of(evidence)
    assert f"one sum over 3 of the 4 sites, without {GENES}" in words and "Without" in words
    assert of_test in words
    # The last model, whose score is held against none that was taken with genes: the start was kept for that.
    assert evidence.selected_round == 3


def test_the_epsilon_of_who_is_in_no_later_sum_stays_in_line_report_and_finished_report(tmp_path) -> None:
    """The report gave what the sites that were left had spent, and called it the largest of any site. The one that had
    spent most was charged for a sum that did not open, and was in none after it.
    """
    study, folders = small_hospitals(tmp_path / "made")
    study = private(study)
    study = replace(study, rounds=2, privacy=replace(study.privacy, epsilon=8.0, spare_rounds=6))
    plan, run = plan_privacy(study), tmp_path / "run"
    assert plan is not None
    site = read_site(folders[0])
    state = run / "sites" / site.file.site
    earlier = Entry(replace(study, study="another").digest, "earlier", 1, 1, "training", (plan.training(3),))
    Ledger(state / LEDGER_FILE).spend(earlier, plan.epsilon, plan.delta, plan.accountant)
    losses = [Loss(folder.name, 3, "confirm") for folder in folders[:2]]
    losses += [Loss(folders[0].name, number, "join") for number in range(4, 12)]
    watching = Watching([], run)
    simulation = Simulation(study, folders, run, workers=2, losses=tuple(losses), compare=False)
    _, evidence = simulate(simulation, watching)
    spent = ledger_of(state).spent(judged_at(site.file.policy, plan), None, plan.accountant, study.digest)
    others = [entry.epsilon or 0.0 for entry in watching.rounds]
    assert others == sorted(others) and watching.rounds[2].sites == 3
    shown = max(max(entry.epsilon or 0.0, entry.held_out_epsilon or 0.0) for entry in evidence.rounds)
    assert shown == pytest.approx(spent, rel=1e-6)
    assert f"Epsilon spent {spent:.2f}of 8" in words_of(evidence)
    assert [f"epsilon {spent:.2f}" in said for said in watching.lines] == [False, False, True, True, True]
    stopped = finish(run.with_name("stopped"))
    assert stopped.open_epsilon == study.privacy.epsilon, "nothing here knows what else that ledger has"
    assert f"charged: up to {stopped.open_epsilon:.2f}" in words_of(stopped)
    assert max(entry.epsilon or 0.0 for entry in stopped.rounds) == pytest.approx(spent, rel=1e-6)
