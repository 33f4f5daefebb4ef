"""A site serves one run of a consortium at a time: the second is refused in words, and no crash blocks the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import BusyError
from common.identity import SigningKey
from common.node_key import generate, public_of
from server.at_work import at_work
from server.consortium import Consortium
from server.coordinator import CONTROL, EXECUTOR
from server.deployed import ended_runs
from server.flower import make_secret
from server.run_folder import playing
from server.watch import STATUS_FILE, RunStatus
from tests.support.deployment import Process, free_port, wait_for
from tests.support.enrolment import request
from tests.support.records import record_hospitals


def test_a_site_is_at_work_for_one_run(tmp_path: Path) -> None:
    with at_work(tmp_path, ["a", "b"], "first"):
        refused = pytest.raises(BusyError, match=r"b serves the run first\. .*wardround stop first")
        with refused, at_work(tmp_path, ["b", "c"], "second"):
            raise AssertionError("b served two runs")
        with at_work(tmp_path, ["c", "d"], "third"):  # what was refused holds nothing
            pass
    with at_work(tmp_path, ["b"], "second"):
        pass


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[Path]:
    """A consortium of three sites whose server is away: its runs wait for it."""
    made = Consortium.new(tmp_path / "consortium", "lab", "127.0.0.1", port=free_port())
    for site in ("east", "north", "west"):
        made = made.admit(request(site, SigningKey.generate(), public_of(generate(), "node.key")))
    for name in (CONTROL, EXECUTOR):
        make_secret(made.state / name)
    yield tmp_path / "consortium"


def test_a_second_run_over_busy_sites_is_refused_in_words(consortium: Path, tmp_path: Path) -> None:
    """It was taken, ended the first one's sums at every site, and both charged the ledgers."""
    study = record_hospitals(tmp_path / "h")
    started: list[Process] = []

    def run(name: str) -> Process:
        started.append(Process(tmp_path / f"{name}.log", "run", str(study), "--at", str(consortium), "--run", name))
        return started[-1]

    try:
        first = run("first")
        wait_for(lambda: (consortium / "runs" / "first" / "status.json").exists() or not first.runs, "first run")
        assert first.runs, first.text
        refused = run("second")
        assert refused.wait(60) == BusyError.exit_code
        assert "east, north, west serve the run first" in refused.text and "wardround stop first" in refused.text
        assert not (consortium / "runs" / "second" / "status.json").exists()
        first.kill()  # nothing is said, and nothing blocks the next
        third = run("third")
        wait_for(lambda: (consortium / "runs" / "third" / "status.json").exists() or not third.runs, "third run")
        assert third.runs, third.text
    finally:
        for process in started:
            process.stop()


def test_sites_are_told_which_runs_are_over(tmp_path: Path) -> None:
    for name, run, ended in (("done", "a" * 16, "completed"), ("killed", "b" * 16, ""), ("mine", "c" * 16, "")):
        (tmp_path / name).mkdir()
        RunStatus(run, "study", 1, ended=ended).write(tmp_path / name / STATUS_FILE)
    with playing(tmp_path / "mine"):
        assert set(ended_runs(tmp_path / "mine")) == {"a" * 16, "b" * 16}
