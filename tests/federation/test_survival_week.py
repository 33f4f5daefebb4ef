"""A bad week in four minutes, for `make soak`: one process after the other is killed while a study runs."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from common.disk.audit import Audit
from common.study import read_study
from tests.support.deployment import Deployment, Process, wait_for
from tests.support.survival import (
    children,
    deployment,
    file_of,
    require_all_back,
    require_paid_once,
    rounds,
    run_number,
    site_number,
    start,
    weights,
    write,
)

pytestmark = pytest.mark.week

ROUNDS, STEPS = 12, 200
KILLS = 10  # at least; they go on until the run is over, or the week is
WEEK_SECONDS, LAST_SECONDS = 240.0, 900.0  # the run must be over by then, however slow the machine
GIVEN_UP = 3  # times at most that a run gives a round up, because too many of its attempts met a kill, and says so
VICTIMS = {"agent": 4, "connector": 4, "site": 2, "run": 2, "superlink": 1}  # how often, of 13


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("s"), ("open", "private"), private=("private",)) as made:
        for name in ("open", "private"):
            study = read_study(file_of(made, name))
            write(
                made.folder.parent,
                replace(
                    study,
                    rounds=ROUNDS,
                    training=replace(study.training, local_steps=STEPS),
                    privacy=replace(study.privacy, spare_rounds=4 * ROUNDS) if study.private else study.privacy,
                ),
            )
            made.approve(file_of(made, name))
        yield made


class Killer:
    """Kills a process at random, starts it again, waits until all sites are connected, and so on."""

    def __init__(self, deployed: Deployment, name: str, seed: int) -> None:
        self._deployed, self._name, self._random = deployed, name, random.Random(seed)
        self.run = start(deployed, name, study=name)
        self.killed: list[str] = []
        self.given_up: list[str] = []

    def until_the_run_is_over(self) -> None:
        began = time.monotonic()
        while self._runs():
            lasts = time.monotonic() - began
            assert lasts < LAST_SECONDS, f"not over, after {self.killed}:\n{self.run.text[-3000:]}"
            if self._slept(self._random.uniform(0.2, 5.0)) and lasts < WEEK_SECONDS:
                [victim] = self._random.choices(list(VICTIMS), list(VICTIMS.values()))
                self.killed.append(victim)
                getattr(self, f"_kill_{victim}")()
                require_all_back(self._deployed)

    def _runs(self) -> bool:
        """Somebody at the coordinator does what a run that gave up asks for."""
        if self.run.runs:
            return True
        last = self.run.text.strip().splitlines()[-1]
        if self.run.wait(5) == 0 or f"wardround resume {self._name}" not in last or len(self.given_up) == GIVEN_UP:
            return False
        self.given_up.append(last)
        self.run = self._deployed.resume(self._name)
        return True

    def _slept(self, seconds: float) -> bool:
        """Whether the run still goes on then."""
        time.sleep(seconds)
        return self.run.runs

    def _kill_agent(self) -> None:
        site = site_number(self._deployed, self._random.randrange(4))
        site.agent.kill()
        site.start_agent(wait=True)

    def _kill_connector(self) -> None:
        site = site_number(self._deployed, self._random.randrange(4))
        site.connector.kill()
        site.start_connector()

    def _kill_site(self) -> None:
        site = site_number(self._deployed, self._random.randrange(4))
        site.agent.kill()
        site.connector.kill()
        site.start_agent(wait=True)
        site.start_connector()

    def _kill_run(self) -> None:
        """Once its checkpoint is there: before, there is nothing to resume."""
        wait_for(lambda: not self.run.runs or bool(rounds(self._deployed, self._name)), "a first round", 60)
        if self.run.runs:
            self.run.kill()
            self.run = self._deployed.resume(self._name)

    def _kill_superlink(self) -> None:
        """The supervisor starts another one."""
        for child in children(self._deployed.coordinator.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("name", ["open", "private"])
def test_a_study_comes_to_its_end_whatever_is_killed(deployed: Deployment, name: str) -> None:
    killer = Killer(deployed, name, seed=11)
    killer.until_the_run_is_over()
    said: Process = killer.run
    assert said.wait(5) == 0, f"after {killer.killed}:\n{said.text[-3000:]}"
    assert len(killer.killed) >= KILLS, "too few kills to say anything"
    history = rounds(deployed, name)
    assert [entry["round"] for entry in history] == list(range(ROUNDS + 3))
    assert all(entry["sites"] >= 3 for entry in history)
    assert np.isfinite(weights(deployed, name)["weights"]).all()
    for site in deployed.sites.values():
        if name == "private":
            require_paid_once(site, run_number(deployed, name), ROUNDS)
        verdict = Audit(site.state / "audit.jsonl").verify()
        assert verdict.broken is None
    assert deployed.consortium.audit.verify().broken is None
