"""The processes that tests start with their imports made."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.deployment import environment
from tests.support.warm import Warm


def test_a_process_that_ended_a_moment_ago_is_sent_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone before its exit code is told: to ask it to stop then ended a whole run of the soak."""
    process = Warm(tmp_path / "log", ("--version",), environment())
    assert process.wait(60) == 0
    monkeypatch.setattr(process, "poll", lambda: None)
    process.send_signal(signal.SIGTERM)
