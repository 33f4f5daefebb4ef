"""Bad days whose processes are killed with SIGKILL: the run's, a site's agent in training, a site's connector.

Each run ends with the right result, without that site at worst, and it is back in the next round. In `make soak` the
same at more moments. One deployment serves all: to start one is dear.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from client.relay import RelayClient
from tests.support.deployment import Deployment, SiteUp, wait_for
from tests.support.survival import (
    SECONDS,
    deployment,
    is_equal,
    moments,
    named,
    next_event,
    require_paid_once,
    rounds,
    run_number,
    site_number,
    start,
    undisturbed,
    weights,
    while_it_runs,
)

Weights = dict[str, np.ndarray]
RUN = [("Masked", 2), ("Masked", 1), ("Confirmed", 2), ("Revealed", 2), ("Masked", 4)]
CONNECTOR = [("Masked", 2), ("Masked", 1), ("Confirmed", 2), ("Revealed", 2)]
TRAINING = [("Offered", 2), ("Offered", 3)]  # the first sum is the statistics'; an offer rides on the end of the last
LONG = [named("agent", moment) for moment in TRAINING]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("s")
    with deployment(folder, ("open", "private", *LONG), private=("private",), long=LONG, steps=500) as made:
        yield made


@pytest.fixture(scope="module")
def calm(deployed: Deployment) -> Weights:
    return undisturbed(deployed, "open")


@pytest.mark.parametrize(("leg", "times"), moments(*RUN))
def test_a_run_process_that_is_killed_goes_on_to_the_same_weights(
    deployed: Deployment, calm: Weights, leg: str, times: int
) -> None:
    name = named("killed", (leg, times))
    run = start(deployed, name, study="open")
    next_event(site_number(deployed, 0), leg, times)
    run.kill()
    resumed = deployed.resume(name)
    assert resumed.wait(SECONDS) == 0, resumed.text
    assert is_equal(weights(deployed, name), calm)


def test_nothing_is_paid_twice_for_a_round_nor_less_than_was_used(deployed: Deployment) -> None:
    """A private run whose process is killed: every attempt is its own release, with its own entry."""
    run = start(deployed, "paid", study="private")
    next_event(site_number(deployed, 1), "Masked", 2)
    run.kill()
    resumed = deployed.resume("paid")
    assert resumed.wait(SECONDS) == 0, resumed.text
    for site in deployed.sites.values():
        require_paid_once(site, run_number(deployed, "paid"))


@pytest.mark.parametrize(("leg", "times"), moments(*TRAINING))
def test_an_agent_that_is_killed_in_training_is_dropped_and_back_in_the_next_round(
    deployed: Deployment, leg: str, times: int
) -> None:
    site, name = site_number(deployed, 2), named("agent", (leg, times))

    def kill() -> None:
        next_event(site, leg, times)
        wait_for(lambda: activity(site) == "training", "training", 60)
        site.agent.kill()
        site.start_agent()

    with while_it_runs(kill):
        run = start(deployed, name, study=name)
        assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, name)
    assert sum(entry["dropped"] for entry in history) >= 1
    assert history[-1]["sites"] == 4 and history[-1]["dropped"] == 0
    assert all(entry["sites"] >= 3 for entry in history)


def activity(site: SiteUp) -> str:
    """What the agent says that it does."""
    client = RelayClient(site.socket)
    try:
        return client.activity().state
    finally:
        client.close()


@pytest.mark.parametrize(("leg", "times"), moments(*CONNECTOR))
def test_a_connector_that_is_killed_loses_nothing(deployed: Deployment, calm: Weights, leg: str, times: int) -> None:
    site, name = site_number(deployed, 3), named("connector", (leg, times))

    def kill() -> None:
        next_event(site, leg, times)
        site.connector.kill()
        site.start_connector()

    with while_it_runs(kill):
        run = start(deployed, name, study="open")
        assert run.wait(SECONDS) == 0, run.text
    assert not any(entry["dropped"] for entry in rounds(deployed, name))
    assert is_equal(weights(deployed, name), calm)
