"""Bad days of the coordinator: its processes killed with SIGKILL at the worst moment.

Each run ends with the right result, or says why not. In `make soak` the same at more moments.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.deployment import Deployment
from tests.support.survival import (
    SECONDS,
    children,
    deployment,
    is_equal,
    moments,
    named,
    next_event,
    site_number,
    start,
    undisturbed,
    weights,
)

Weights = dict[str, np.ndarray]
MOMENTS = moments(("Masked", 2), ("Masked", 1), ("Confirmed", 2), ("Revealed", 2), ("Masked", 4))


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("s"), ("open",)) as made:
        yield made


@pytest.fixture(scope="module")
def calm(deployed: Deployment) -> Weights:
    return undisturbed(deployed, "open")


@pytest.mark.soak
@pytest.mark.parametrize(("leg", "times"), MOMENTS)
def test_a_superlink_that_is_away_for_20_seconds_changes_nothing(
    deployed: Deployment, calm: Weights, leg: str, times: int
) -> None:
    name = named("outage", (leg, times))
    run = start(deployed, name, study="open")
    next_event(site_number(deployed, 0), leg, times)
    take_away_superlink(deployed, 20)
    assert run.wait(SECONDS) == 0, run.text
    assert is_equal(weights(deployed, name), calm)


@pytest.mark.soak
def test_a_superlink_that_is_away_for_minutes_costs_time_alone(deployed: Deployment, calm: Weights) -> None:
    """Flower has given the run up when it is back: it goes on as another, and nobody has to do anything."""
    run = start(deployed, "minutes", study="open")
    next_event(site_number(deployed, 0), "Masked", 2)
    take_away_superlink(deployed, 100)
    assert run.wait(SECONDS) == 0, run.text
    assert "ended the run" in run.text
    assert is_equal(weights(deployed, "minutes"), calm)


@pytest.mark.soak
def test_a_run_waits_for_minutes_for_sites_without_whom_it_cannot_go_on(deployed: Deployment, calm: Weights) -> None:
    """Two of four, with a threshold of three. Their hospital's electrician needs no coordinator at his side."""
    run = start(deployed, "dark", study="open")
    gone = [site_number(deployed, number) for number in (2, 3)]
    next_event(gone[0], "Masked", 2)
    for site in gone:
        site.agent.kill()
        site.connector.kill()
    time.sleep(200)
    assert run.runs, run.text
    assert "waiting for lost sites" in run.text and "not connected: " in run.text
    for site in gone:
        site.start_agent(wait=True)
        site.start_connector()
    assert run.wait(SECONDS) == 0, run.text
    assert is_equal(weights(deployed, "dark"), calm)


def take_away_superlink(deployed: Deployment, seconds: float) -> None:
    """Killed, and not started again before so many seconds."""
    supervisor = deployed.coordinator.pid
    found = children(supervisor)
    assert found
    os.kill(supervisor, signal.SIGSTOP)  # it would start another at once
    for child in found:
        os.kill(child, signal.SIGKILL)
    time.sleep(seconds)
    os.kill(supervisor, signal.SIGCONT)
