"""The status of a run, written by the run and by the thread that asks the sites, at the same time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from common.errors import BudgetError, RunError
from server.lost import Lost, Refused
from server.run.finish import finish
from server.run.watch import STATUS_FILE, RunStatus, SiteStatus, Watch, clock, read_status

AWAY = cast(Any, None)  # a server that cannot be asked


def test_two_threads_write_the_status_without_losing_it(tmp_path: Path) -> None:
    """Each write goes through one draft beside the file: the second rename once found nothing, and ended the run."""
    watch = Watch(RunStatus("run", "study", os.getpid()), tmp_path / "status.json")

    def write(who: int) -> None:
        for number in range(300):
            watch.doing(f"{who}: {number}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    assert read_status(tmp_path / "status.json").doing.endswith(": 299")
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_a_site_that_the_last_sum_lost_is_named_with_the_reason_when_the_run_ends(tmp_path: Path) -> None:
    """What ends a run is often a refusal, which comes between two looks at the sites."""
    watch = Watch(RunStatus("run", "study", os.getpid()), tmp_path / "status.json")
    watch.status.sites = {"ward": SiteStatus("connected; waits to be asked", seen=1.0)}
    watch.dropped = lambda: {"ward": Lost("join", Refused("not_approved"))}
    with suppress(RunError), watch, watch.asking(AWAY, AWAY, {}):
        raise RunError("Too few sites.")
    read = read_status(tmp_path / "status.json")
    assert read.ended == "Too few sites."
    assert read.sites["ward"] == SiteStatus("dropped: join: has not approved this study", seen=1.0)


def test_the_terminal_hears_of_what_lasts_and_not_of_what_is_done_at_once(tmp_path: Path) -> None:
    told: list[str] = []
    watch = Watch(RunStatus("run", "study", os.getpid()), tmp_path / "status.json")
    watch.tell = told.append
    watch.status.sites = {
        "ward": SiteStatus("training", 3, 5), "clinic": SiteStatus("training", 4, 5), "home": SiteStatus("dropped: x"),
    }  # fmt: skip
    watch.doing("round 1 of 3")
    watch.tell_waiting(now=watch.status.since + 2)
    assert told == []
    for seconds in (12, 14, 18, 40):
        watch.tell_waiting(now=watch.status.since + seconds)
    sites = "training: clinic, ward; dropped: home"
    assert told == [f"round 1 of 3, for 12 s: {sites}", f"round 1 of 3, for 40 s: {sites}"]


def test_a_run_that_waits_says_for_whom_and_until_when(tmp_path: Path) -> None:
    told: list[str] = []
    watch = Watch(RunStatus("run", "study", os.getpid()), tmp_path / "status.json")
    watch.tell, watch.limit = told.append, 3600.0
    watch.status.sites = {f"ward{number}": SiteStatus("training") for number in range(10)}
    watch.doing("round 1 of 3")
    watch.tell_waiting(now=watch.status.since + 12)
    [line] = told
    assert f"until {clock(watch.status.since + 3600)} at the latest: training: ward0, ward1" in line
    assert line.endswith("and 2 more")


def test_a_run_that_was_not_begun_says_why(tmp_path: Path) -> None:
    """`wardround status` showed the name of an error's class, and `wardround finish` told of a missing checkpoint."""
    path = tmp_path / STATUS_FILE
    (tmp_path / "study.yaml").touch()
    with suppress(BudgetError), Watch(RunStatus("", "digest", os.getpid()), path):
        raise BudgetError("Not begun: the privacy budget of north does not carry this run to its end.")
    assert "budget of north" in read_status(path).ended
    with pytest.raises(RunError, match=r"no model\. Not begun: the privacy budget of north"):
        finish(tmp_path)
