"""What a deployed round costs: the protocol's own time beside stock Flower's, and a round of a large update.

Everything runs on this machine: the coordinator, its SuperLink with the database on disk, two processes a site, TLS and
node keys. Training is one step on a few patients; all that is left is the cost of the messages and of the secure sum.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
import yaml

from common.study import read_study
from server.flower.supervisor import DATABASE
from server.run.checkpoint import read
from tests.benchmarks.figure import Figure
from tests.support.deployment import Deployment
from tests.support.hospital import write_csv
from tests.support.stock_flower import exchange_seconds

GROUP = "deployment"
ROUNDS = 8
WIDE = 10_000  # two hidden layers: 100 million parameters
PATIENTS = 40
ROUND_DONE = re.compile(r"round +(\d+)/\d+ ")  # and not "round 1 of 2, for 12 s", which is told while it lasts


def measure() -> Iterator[Figure]:
    """The small round, stock Flower's exchange, ten rounds of a large update and what they leave in the database."""
    yield _round_seconds()
    yield _stock_seconds()
    yield from _large_update()


def _round_seconds() -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = played(Path(folder), sites=4, hidden=8, rounds=ROUNDS)
    shown = ", ".join(f"{value:.2f}" for value in seconds)
    note = f"median of rounds 2 to {ROUNDS} of {shown} s; 4 sites, TLS, node keys, secure sum, default settings"
    return Figure("deployment.round_seconds", statistics.median(seconds[1:]), "<= 2", note)


def _stock_seconds(times: int = 5) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        seconds = exchange_seconds(Path(folder), times=times)
    shown = ", ".join(f"{value:.1f}" for value in seconds)
    note = f"median of {shown} s; one query to each of 2 stock SuperNodes and its reply, without TLS and without work"
    return Figure("deployment.stock_flower_exchange_seconds", statistics.median(seconds), None, note)


def _large_update(rounds: int = 10) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        seconds, seen = played(Path(folder), sites=3, hidden=WIDE, rounds=rounds, limit=3000)
    shown = ", ".join(f"{value:.0f}" for value in seconds)
    note = (
        f"median of the training rounds of {shown} s; {parameters(WIDE) / 1e6:.0f} million parameters, 3 sites, "
        f"database on disk; peak memory in GB: {seen.told()}"
    )
    yield Figure("deployment.large_update_seconds", statistics.median(seconds), "<= 180", note)
    yield Figure(
        "deployment.superlink_gigabytes", seen.gigabytes("SuperLink"), "<= 2", "peak resident memory of its process"
    )
    sizes = seen.after_round
    note = f"superlink.db with its log: {sizes[1] / 1e6:.0f} MB after round 1, {sizes[rounds] / 1e6:.0f} after {rounds}"
    yield Figure("deployment.database_growth", sizes[rounds] / sizes[1], "<= 2", note)


def parameters(hidden: int) -> int:
    """Of `study_text`'s network, but for its few hundred or thousand outside the two hidden layers."""
    return hidden * hidden


def played(folder: Path, *, sites: int, hidden: int, rounds: int, limit: float = 600.0) -> tuple[list[float], Watched]:
    """Seconds of the training rounds of a run over new hospitals, and what was seen of its processes meanwhile."""
    hospitals = folder / "h"
    for number in range(sites):
        hospital(hospitals / f"site{number}", number)
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump(study_of(hidden, rounds), sort_keys=False), encoding="utf-8")
    with Deployment(folder / "d", hospitals) as deployment:
        deployment.approve(study)
        run = deployment.run(study, "bench")
        with Watched(deployment, run.pid, run.log) as seen:
            assert run.wait(limit) == 0, run.text
        state = read(deployment.checkpoint("bench"), read_study(study).digest)
    return [entry["seconds"] for entry in state.history if 1 <= entry["round"] <= rounds], seen


def study_of(hidden: int, rounds: int) -> dict[str, object]:
    """Records of three numbers, through two hidden layers of this width; one step a round."""
    numbers = {name: {"low": -5, "high": 5, "mean": 0, "sd": 1} for name in ("age", "crp", "pulse")}
    return {
        "study": "bench",
        "task": {"kind": "binary", "classes": ["alive", "dead"]},
        "modalities": {"chart": {"kind": "record", "numeric": numbers, "encoder": {"hidden": [hidden, hidden]}}},
        "rounds": rounds,
        "fusion": {"kind": "mean", "width": 8, "modality_dropout": 0.0},
        "training": {"local_steps": 1, "batch_size": 8},
    }


def hospital(folder: Path, number: int) -> None:
    """A site of a few patients, whose second number tells the outcome."""
    random = np.random.default_rng(number)
    values = random.normal(size=(PATIENTS, 3)).round(3)
    names = ("age", "crp", "pulse")
    write_csv(
        folder / "records.csv",
        (
            {"patient_id": f"p{number}-{row}", "outcome": "dead" if value[1] > 0 else "alive"}
            | dict(zip(names, value.tolist(), strict=True))
            for row, value in enumerate(values)
        ),
    )
    site = {
        "site": folder.name,
        "target": {"file": "records.csv", "column": "outcome"},
        "records": {"chart": {"file": "records.csv"}},
        "policy": {"require_privacy": False, "without_privacy": {"smallest_part": 8}},  # of a step
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(site), encoding="utf-8")


@dataclass
class Watched:
    """Looks, while a run goes on, at its processes' memory and at the database. A context manager."""

    deployment: Deployment
    run: int  # process
    log: Path
    peak: dict[str, int] = field(default_factory=dict)  # bytes, the kernel's high-water mark
    after_round: dict[int, int] = field(default_factory=dict)  # bytes of the database when the round's end was told
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watched:
        self._thread = threading.Thread(target=self._looking, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def gigabytes(self, name: str) -> float:
        return self.peak[name] / 1e9

    def told(self) -> str:
        return ", ".join(f"{name} {size / 1e9:.2f}" for name, size in self.peak.items())

    def _looking(self) -> None:
        coordinator = self.deployment.coordinator.pid
        superlink = int(Path(f"/proc/{coordinator}/task/{coordinator}/children").read_text().split()[0])
        one = next(iter(self.deployment.sites.values()))
        watched = {
            "SuperLink": superlink,
            "run": self.run,
            "one agent": one.agent.pid,
            "its connector": one.connector.pid,
        }
        while not self._over.wait(0.05):
            for name, process in watched.items():
                self.peak[name] = max(self.peak.get(name, 0), high_water(process))
            told = self.log.read_text(encoding="utf-8", errors="replace")
            for number in map(int, ROUND_DONE.findall(told)):
                self.after_round.setdefault(number, self._database())

    def _database(self) -> int:
        file = self.deployment.at / "state" / DATABASE
        return sum(path.stat().st_size for path in file.parent.glob(f"{file.name}*"))


def high_water(process: int) -> int:
    """Bytes of a process's peak resident memory; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
