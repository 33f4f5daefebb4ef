"""Bad days of a site: its processes killed with SIGKILL, a slow machine, a cut line, a full disk, a wrong clock.

Each run ends with the right result, without that site at worst, and it is back in the next round. In `make soak` the
same at more moments.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Event

import numpy as np
import pytest
import yaml

from tests.support.deployment import Deployment, SiteUp, wait_for
from tests.support.forwarder import Forwarder
from tests.support.survival import (
    LAST,
    ROUNDS,
    SECONDS,
    STEPS,
    deployment,
    is_equal,
    moments,
    named,
    next_event,
    require_all_back,
    rounds,
    shifted_clock,
    site_number,
    start,
    undisturbed,
    weights,
    while_it_runs,
)

Weights = dict[str, np.ndarray]
SITE = [
    ("Masked", 2), ("Offered", 3), ("Confirmed", 2), ("Confirmed", 3), ("Revealed", 2), ("Masked", 1), ("Masked", 4),
]  # fmt: skip
LINE = [("Masked", 2), ("Offered", 3), ("Revealed", 2)]
DISK = [("Masked", 1), ("Offered", 3)]
TIME_BOXES = [0.5, pytest.param(0.2, marks=pytest.mark.soak)]  # seconds
STUDIES = (
    *("open", "slow"),
    *(named(test, moment) for test, several in (("site", SITE), ("line", LINE), ("full", DISK)) for moment in several),
)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("s"), STUDIES, long=["slow"]) as made:
        yield made


@pytest.fixture(scope="module")
def calm(deployed: Deployment) -> Weights:
    return undisturbed(deployed, "open")


@pytest.mark.soak
@pytest.mark.parametrize(("leg", "times"), moments(*SITE))
def test_a_site_that_is_killed_between_two_legs_comes_back(deployed: Deployment, leg: str, times: int) -> None:
    site, name = site_number(deployed, 1), named("site", (leg, times))

    def kill() -> None:
        next_event(site, leg, times)
        site.agent.kill()
        site.connector.kill()
        site.start_agent(wait=True)
        site.start_connector()

    with while_it_runs(kill):
        run = start(deployed, name, study=name)
        assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, name)
    assert len(history) == LAST + 1 and all(entry["sites"] >= 3 for entry in history)
    assert np.isfinite(weights(deployed, name)["weights"]).all()
    require_all_back(deployed)


# ------------------------------------------------------------------------------------------------------- the machine


@pytest.mark.soak
@pytest.mark.parametrize("time_box", TIME_BOXES)
def test_a_slow_site_hands_over_what_it_has_when_the_time_is_over(deployed: Deployment, time_box: float) -> None:
    """A tenth of its speed: stopped for nine tenths of the time."""
    site, done, name = site_number(deployed, 0), Event(), f"slow_{time_box}"

    def slow_down() -> None:
        process = site.agent.pid
        while not done.wait(0.01):
            os.kill(process, signal.SIGSTOP)
            time.sleep(0.09)
            os.kill(process, signal.SIGCONT)

    with while_it_runs(slow_down):
        run = start(deployed, name, "--time-box", str(time_box), study="slow")
        try:
            assert run.wait(SECONDS) == 0, run.text
        finally:
            done.set()
    history = rounds(deployed, name)
    assert all(entry["dropped"] == 0 for entry in history)
    for entry in history[1 : ROUNDS + 1]:
        assert 4 <= entry["steps"] < 4 * STEPS


@pytest.mark.soak
@pytest.mark.parametrize(
    ("sites", "seconds"),
    [
        (1, 600),
        (1, -600),
        (4, -600),  # then it is the coordinator whose clock is wrong
    ],
)
def test_a_clock_that_is_ten_minutes_off(deployed: Deployment, calm: Weights, sites: int, seconds: int) -> None:
    """Of agent and connector. Flower takes five minutes of difference in a node's signature."""
    wrong, name = list(deployed.sites.values())[:sites], f"clock_{sites}_{seconds}"
    with restarted(deployed, wrong, shifted_clock(seconds)):
        run = start(deployed, name, study="open")
        assert run.wait(SECONDS) == 0, run.text
        said = [re.findall(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)", site.connector.text, re.M)[-1] for site in wrong]
    for time_said in said:
        off = datetime.fromisoformat(time_said).astimezone(UTC) - datetime.now(UTC)
        assert abs(off.total_seconds() - seconds) < SECONDS, "the test's clocks are not wrong"
    assert not any(entry["dropped"] for entry in rounds(deployed, name))
    assert is_equal(weights(deployed, name), calm)


@contextmanager
def restarted(deployed: Deployment, sites: Sequence[SiteUp], env: dict[str, str]) -> Iterator[None]:
    """The sites' processes in another environment, and as they were at the end."""
    restart(deployed, sites, env)
    try:
        yield
    finally:
        restart(deployed, sites, None)


def restart(deployed: Deployment, sites: Sequence[SiteUp], env: dict[str, str] | None) -> None:
    for site in sites:
        site.stop()
    wait_for(lambda: not {site.name for site in sites} & deployed.online(), "away", 60)
    for site in sites:
        site.env = env
        site.start_agent(wait=True)
        site.start_connector()
    require_all_back(deployed)


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk needs root to mount it")
@pytest.mark.soak
@pytest.mark.parametrize(("leg", "times"), moments(*DISK))
def test_a_full_disk_at_a_site_costs_that_site_alone(deployed: Deployment, leg: str, times: int) -> None:
    site, name = site_number(deployed, 3), named("full", (leg, times))

    def fill() -> None:
        next_event(site, leg, times)
        with (site.state / "filler").open("wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
            except OSError:
                pass

    with on_a_small_disk(site), while_it_runs(fill):
        run = start(deployed, name, study=name)
        assert run.wait(SECONDS) == 0, run.text
    history = rounds(deployed, name)
    assert all(entry["sites"] >= 3 for entry in history) and history[-1]["sites"] == 3
    assert any("refused" in reason for entry in history for reason in entry["drop_reasons"])


@contextmanager
def on_a_small_disk(site: SiteUp) -> Iterator[None]:
    """Its state, for as long as this lasts, of 8 MB."""
    site.agent.stop()
    kept = site.state.with_name("state.kept")
    site.state.rename(kept)
    site.state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(site.state)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{kept}/.", str(site.state)], check=True)
        site.start_agent(wait=True)
        yield
    finally:
        site.agent.stop()
        subprocess.run(["umount", "-l", str(site.state)], check=True)
        site.state.rmdir()
        kept.rename(site.state)
        site.start_agent(wait=True)


# ----------------------------------------------------------------------------------------------------------- the line


@pytest.mark.soak
@pytest.mark.parametrize(("leg", "times"), moments(*LINE))
def test_a_line_that_is_cut_for_60_seconds(deployed: Deployment, leg: str, times: int) -> None:
    site, name = site_number(deployed, 2), named("line", (leg, times))
    with through_a_line(deployed, site) as line:

        def cut() -> None:
            next_event(site, leg, times)
            line.cut()
            time.sleep(60)
            line.mend()

        with while_it_runs(cut):
            run = start(deployed, name, study=name)
            assert run.wait(SECONDS) == 0, run.text
        assert all(entry["sites"] >= 3 for entry in rounds(deployed, name))
        wait_for(lambda: site.name in deployed.online(), "connected again", 60)


@contextmanager
def through_a_line(deployed: Deployment, site: SiteUp) -> Iterator[Forwarder]:
    """The site's connector calls the coordinator through a line that can be cut."""
    path = site.connector_folder / "coordinator.yaml"
    before = path.read_text(encoding="utf-8")
    with Forwarder(deployed.port) as line:
        site.connector.stop()
        path.write_text(yaml.safe_dump(yaml.safe_load(before) | {"port": line.port}), encoding="utf-8")
        site.start_connector()
        wait_for(lambda: site.name in deployed.online(), "connected through the line")
        yield line
        site.connector.stop()
    path.write_text(before, encoding="utf-8")
    site.start_connector()
    require_all_back(deployed)
