"""Names that lead elsewhere, given to the command line by hand or by a script."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from deploy.cli import commands


@pytest.mark.parametrize("name", ["../elsewhere", "/etc/cron.d", "..", ".hidden", "a/b", "", "-x", "*", "a\x1b[2J"])
@pytest.mark.parametrize(
    "words", [["run", "study.yaml", "--run"], ["resume", "--"], ["status", "--"], ["stop", "--"], ["demo", "--run"]]
)
def test_a_runs_name_leads_to_no_other_folder(words: list[str], name: str, tmp_path: Path) -> None:
    """`stop` signals the process that the file in that folder names, and `demo` removes one that it made."""
    runner = CliRunner()
    with runner.isolated_filesystem(tmp_path):
        done = runner.invoke(commands, [*words, name])
        assert done.exit_code == 2 and "a run's name" in done.output
        assert not list(Path().iterdir())
