"""What a person is told who stops a simulation: a command that goes on with it, or starts it again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from deploy.cli import commands
from deploy.research.synthetic.generate import generate
from server.run.checkpoint import CHECKPOINT_FILE


@pytest.mark.parametrize("saved", [False, True])
def test_a_stopped_simulation_names_a_command_that_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """Before its first sum there is nothing to resume: the command that was named refused to."""
    generate(tmp_path / "h", sites=3, seed=0, scale=0.05)
    monkeypatch.chdir(tmp_path)

    def stopped(plan: Any, *_: Any) -> Any:
        plan.folder.mkdir(parents=True, exist_ok=True)
        if saved:
            (plan.folder / CHECKPOINT_FILE).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.research.simulation.simulate.simulate", stopped)
    words = ["simulate", "h/study.yaml", "--hospitals", "h", "--run", "one", "--no-compare"]
    said = CliRunner().invoke(commands, words)
    assert said.exit_code != 0
    told = str(said.exception) + said.output
    (again,) = (line.strip() for line in told.splitlines() if line.strip().startswith("wardround simulate"))
    assert shlex.split(again)[1:] == [*words[:-1], *(["--resume"] if saved else []), "--no-compare"]
    assert ("What was saved stays" in told) == saved
