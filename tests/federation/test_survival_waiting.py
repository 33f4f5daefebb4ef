"""A bad day without privacy at sites that wait for lost ones, the default of a deployment: the run waits, or it ends.

Of four sites none can be lost without being shown: a sum over three, beside one over four, is the fourth's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from client.exact_sums.sum_records import SumRecords
from tests.support.deployment import Deployment
from tests.support.survival import (
    LAST,
    SECONDS,
    deployment,
    next_event,
    require_all_back,
    rounds,
    site_number,
    start,
    while_it_runs,
)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("s"), ("back", "gone"), lost_site="wait") as made:
        yield made


@pytest.mark.soak
def test_the_run_waits_for_a_site_that_was_lost_and_sums_over_all_again(deployed: Deployment) -> None:
    """The first test: killed after its vector was sent, so that it cannot confirm, and the others do not without it."""
    site = site_number(deployed, 1)

    def kill() -> None:
        next_event(site, "Offered", 3)
        site.agent.kill()
        site.start_agent(wait=True)

    with while_it_runs(kill):
        run = start(deployed, "back", study="back")
        assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, "back")
    assert len(history) == LAST + 1 and all(entry["sites"] == 4 for entry in history)
    require_all_back(deployed)


@pytest.mark.soak
def test_a_run_whose_lost_site_stays_away_ends_as_a_model_after_its_time(deployed: Deployment) -> None:
    site = site_number(deployed, 2)

    def kill() -> None:
        next_event(site, "Offered", 3)
        site.agent.kill()

    with while_it_runs(kill):
        run = start(deployed, "gone", "--wait", "20", study="gone")
        assert run.wait(2 * SECONDS) == 0, run.text
    history = rounds(deployed, "gone")
    assert 1 <= history[-1]["round"] < LAST and all(entry["sites"] == 4 for entry in history)
    assert "before its end was reached" in run.text
    folder = deployed.at / "runs" / "gone"
    assert (folder / "model.safetensors").exists() and (folder / "report.html").exists()
    assert "before its end" in json.loads((folder / "report.json").read_text())["warnings"][-1]
    for other in deployed.sites.values():
        if other is not site:
            assert all(len(several) == 1 for several in SumRecords(other.state).kept().values())
