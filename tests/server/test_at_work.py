"""A site serves one run of a consortium at a time: the second is refused in words, and no crash blocks the next."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from common.errors import BusyError, RunError
from server.run.at_work import at_work
from server.run.deployed import ended_runs
from server.run.run_folder import player_of, playing
from server.run.watch import STATUS_FILE, RunStatus, SiteStatus, read_status
from tests.support.deployment import Process, environment, wait_for
from tests.support.enrolment import away
from tests.support.records import record_hospitals
from tests.support.warm import ran


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
    yield away(tmp_path / "consortium", "east", "north", "west")


def test_a_second_run_over_busy_sites_is_refused_in_words(consortium: Path, tmp_path: Path) -> None:
    """It was taken, ended the first one's sums at every site, and both charged the ledgers."""
    study = record_hospitals(tmp_path / "h")
    started: list[Process] = []

    def run(name: str) -> Process:
        words = ("run", str(study), "--at", str(consortium), "--run", name)
        started.append(Process(tmp_path / f"{name}.log", *words, warm=True))
        return started[-1]

    try:
        first = run("first")
        wait_for(lambda: (consortium / "runs" / "first" / "status.json").exists() or not first.runs, "first run")
        assert first.runs, first.text
        status = ran("status", "first", "--at", str(consortium), cwd=tmp_path, env=environment())
        for site in ("east", "north", "west"):
            assert re.search(rf"^  {site} +not looked at yet; no sign of life yet$", status.stdout, re.M), status.stdout
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


def test_a_run_is_resumed_over_the_sites_that_it_was_begun_with(tmp_path: Path) -> None:
    """It waited for the fourth, which nobody had chosen; and let go of its own lock when it looked who played it."""
    consortium = away(tmp_path / "four", "east", "north", "south", "west")
    study, folder = record_hospitals(tmp_path / "h"), consortium / "runs" / "mine"
    started: list[Process] = []

    def start(name: str, *more: str) -> Process:
        started.append(Process(tmp_path / f"{name}.log", *more, "--at", str(consortium), warm=True))
        wait_for(lambda: player_of(folder) == started[-1].pid or not started[-1].runs, name)
        wait_for(lambda: told(folder) == started[-1].pid or not started[-1].runs, name)
        assert started[-1].runs, started[-1].text
        return started[-1]

    chosen = [word for site in ("east", "north", "west") for word in ("--site", site)]
    try:
        start("run", "run", str(study), "--run", "mine", *chosen).kill()
        resumed = start("resume", "resume", "mine")
        assert player_of(folder) == resumed.pid
        assert "over the sites of before: east, north, west" in resumed.text
        assert read_status(folder / STATUS_FILE).chosen == ["east", "north", "west"]
        resumed.kill()
        other = [word for site in ("east", "south", "west") for word in ("--site", site)]
        start("others", "resume", "mine", *other)
        assert read_status(folder / STATUS_FILE).chosen == ["east", "south", "west"]
    finally:
        for process in started:
            process.stop()


def test_the_ages_in_a_status_are_all_of_now(consortium: Path, tmp_path: Path) -> None:
    """A file of an hour ago said that a site had been heard of "5 s before", under a line with another age."""
    path = consortium / "runs" / "mine" / STATUS_FILE
    path.parent.mkdir(parents=True)
    (path.parent / "study.yaml").touch()
    sites = {"east": SiteStatus("training", 3, 5, seconds=200, seen=300.0), "north": SiteStatus("not connected")}
    RunStatus("run", "study", os.getpid(), "round 1 of 3", 0, 3, ended="stopped", sites=sites).write(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"written": content["written"] - 3600}))
    said = ran("status", "mine", "--at", str(consortium), cwd=tmp_path, env=environment()).stdout
    assert "as of 60 min ago" in said, said
    assert re.search(r"east +training \(step 3 of 5\), for 3 min; last sign of life 65 min ago$", said, re.M)
    assert re.search(r"north +not connected; no sign of life yet$", said, re.M)


def told(folder: Path) -> int:
    """The process that its status names; 0 before there is one."""
    with suppress(RunError):
        return read_status(folder / STATUS_FILE).process
    return 0


def test_sites_are_told_which_runs_are_over(tmp_path: Path) -> None:
    for name, run, ended in (("done", "a" * 16, "completed"), ("killed", "b" * 16, ""), ("mine", "c" * 16, "")):
        (tmp_path / name).mkdir()
        RunStatus(run, "study", 1, ended=ended).write(tmp_path / name / STATUS_FILE)
    with playing(tmp_path / "mine"):
        assert set(ended_runs(tmp_path / "mine")) == {"a" * 16, "b" * 16}
