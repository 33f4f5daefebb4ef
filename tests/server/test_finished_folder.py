"""`wardround finish` and `status` on the folder of a stopped run, of release 0.1, as time and accidents leave it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.errors import RunError
from deploy.cli import commands
from server.report.evidence import read_evidence
from server.report.page import render
from server.run.finish import END_FILE, SITES, finish, reason_of
from server.run.site_rows import ROWS_FILE
from server.run.watch import STATUS_FILE
from tests.support.reading import read_page

KEPT = Path(__file__).parents[1] / "fixtures" / "release-0.1" / "consortium"


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    return shutil.copytree(KEPT, tmp_path / "consortium")


@pytest.fixture
def simulation(consortium: Path) -> Path:
    """The same run as a simulation's folder has it: no status, and its sites within."""
    run = consortium / "runs" / "stopped"
    (run / STATUS_FILE).unlink()
    (run / SITES / "north").mkdir(parents=True)
    return run


def said(consortium: Path, command: str) -> str:
    done = CliRunner().invoke(commands, [command, "stopped", "--at", str(consortium)])
    assert done.exit_code == 0, done.exception
    return done.output


def ages(told: str) -> list[str]:
    """The age of the status and of each site's last sign of life, without what passes meanwhile."""
    return re.findall(r"as of (.* h|.* d\S*).* ago$|last sign of life (.* h|.* d\S*).* ago$", told, re.M)


def test_a_finished_run_keeps_the_age_of_its_sites_last_sign_of_life(consortium: Path) -> None:
    """They were of now: nine seconds for a site that was last heard of in another month."""
    path = consortium / "runs" / "stopped" / STATUS_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"written": content["written"] - 40 * 3600}))  # however old the fixture is
    before = said(consortium, "status")
    said(consortium, "finish")
    after = said(consortium, "status")
    assert len(ages(before)) == 4 and ages(after) == ages(before)
    assert "finished after round 1 of 4" in after and "finished" not in before


def test_the_ages_of_sites_are_those_of_the_last_look_and_not_of_the_last_write(consortium: Path) -> None:
    """A run that goes on while its server is away wrote, every round, that the sites had just been heard of."""
    path = consortium / "runs" / "stopped" / STATUS_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"looked": content["written"] - 40 * 3600}))
    first, *sites = said(consortium, "status").splitlines()[1:]
    assert "; the sites as of" in first and len(sites) == 3
    with_look = ages("\n".join(sites))
    path.write_text(json.dumps(content))
    without = said(consortium, "status")
    assert "; the sites as of" not in without and ages(without)[1:] != with_look


@pytest.mark.parametrize("lost", ["empty", "gone"])
def test_a_deployed_run_that_has_lost_its_status_is_finished_as_one(consortium: Path, lost: str) -> None:
    """Without its status its report was a simulation's, which shows every count; with an empty one there was none."""
    run = consortium / "runs" / "stopped"
    (run / STATUS_FILE).write_text("") if lost == "empty" else (run / STATUS_FILE).unlink()
    assert "ended after round 1 of 4" in said(consortium, "finish")
    assert read_evidence(run / "report.json").simulated is False
    assert "deployed: sums only" in read_page((run / "report.html").read_text()).text


def test_a_simulations_folder_is_finished_as_one(simulation: Path) -> None:
    assert finish(simulation).simulated


def test_what_could_be_done_and_what_contradicts_the_charges_is_no_reason(consortium: Path) -> None:
    run = consortium / "runs" / "stopped"
    ended = finish(run).warnings[-1]
    assert ended.endswith("before its end was reached: made by 0.1 and not ended.")
    content = json.loads((run / STATUS_FILE).read_text())
    refused = "Not begun: the privacy budget of north does not carry this run from round 2 to its end, and nothing was"
    (run / STATUS_FILE).write_text(json.dumps(content | {"ended": f"{refused} charged. Leave it out."}))
    ended = finish(run).warnings[-1]
    assert "the privacy budget of north does not carry this run from round 2 to its end." in ended
    assert "Not begun" not in ended and "nothing was charged" not in ended


def test_rows_of_a_newer_release_are_refused_before_anything_is_written(simulation: Path) -> None:
    """The model was written, and then there was no report."""
    (simulation / ROWS_FILE).write_text(json.dumps({"format": 99, "rows": []}))
    with pytest.raises(RunError, match="newer release"):
        finish(simulation)
    assert not (simulation / "model.safetensors").exists()
    (simulation / ROWS_FILE).unlink()
    finish(simulation)
    assert (simulation / "model.safetensors").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "x", "why": "a"}', '{"format": true, "why": "a"}', '{"why": 1}']
)
def test_a_damaged_reason_is_none(simulation: Path, text: str) -> None:
    (simulation / END_FILE).write_text(text)
    assert reason_of(simulation) == "it left no reason"
    (simulation / END_FILE).write_text('{"format": 99, "why": "a"}')
    with pytest.raises(RunError, match="newer release"):
        reason_of(simulation)


def test_a_reason_steers_no_terminal(simulation: Path) -> None:
    (simulation / END_FILE).write_text(json.dumps({"format": 1, "why": "a \x1b[31mred\u202e one"}))
    evidence = finish(simulation)
    assert evidence.warnings[-1].endswith(": a  [31mred  one.")
    assert "\x1b" not in render(evidence)
