"""What a person sees of a simulation where standard output is no terminal."""

from __future__ import annotations

import io

from rich.console import Console

from deploy.research.simulation.display import Display
from tests.support.tiny import study_of


def test_what_a_run_does_is_printed_once_each_time_that_it_changes() -> None:
    """A run says it when it begins, and again when its sites have joined: "last score" and "test" stood there twice."""
    written = io.StringIO()
    with Display(study_of("chart"), 3, Console(file=written, width=120)) as display:
        for what in ("last score", "last score", "test", "test", "test, attempt 2", "round 1 of 3", "test"):
            display.doing(what)
    said = [line.split("  ", 1)[1] for line in written.getvalue().splitlines()[1:]]
    assert said == ["last score", "test", "test, attempt 2", "test"]
