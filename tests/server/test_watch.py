"""The status of a run, written by the run and by the thread that asks the sites, at the same time."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server.watch import RunStatus, Watch, read_status


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
