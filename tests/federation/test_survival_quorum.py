"""Sites that are not there: one away from the start, and too few that approved.

In a consortium of its own: without privacy nothing is summed over three sites that was summed over four before.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from client.consent.approvals import Approvals
from common.study import read_study
from tests.support.deployment import Deployment, wait_for
from tests.support.survival import SECONDS, deployment, file_of, require_all_back, rounds, site_number, start, states


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("s"), ("absent", "refused")) as made:
        yield made


def test_a_site_that_is_away_is_left_out_and_taken_in_when_it_comes(deployed: Deployment) -> None:
    """Quorum, not all."""
    absent = site_number(deployed, 3)
    absent.stop()
    wait_for(lambda: absent.name not in deployed.online(), "away", 60)
    run = start(deployed, "absent", "--wait", "3", study="absent")
    wait_for(lambda: len(rounds(deployed, "absent")) >= 1, "a round without it", 200)
    assert "connected" in states(deployed, "absent")[absent.name]
    absent.start_agent(wait=True)
    absent.start_connector()
    assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, "absent")
    assert history[0]["sites"] == 3 and all(entry["sites"] >= 3 for entry in history)
    require_all_back(deployed)


def test_too_few_sites_that_approved_a_study_is_said_in_words(deployed: Deployment) -> None:
    paused = [site_number(deployed, number) for number in (0, 1)]
    study = read_study(file_of(deployed, "refused"))
    for site in paused:
        Approvals(site.state).pause(study.digest)
    run = start(deployed, "refused", study="refused")
    assert run.wait(SECONDS) != 0
    assert "has paused this study" in run.text and all(site.name in run.text for site in paused)
