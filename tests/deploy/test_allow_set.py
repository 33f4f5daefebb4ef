"""`wardround site allow-set`: a person is told whom a sum would show, and allows just that set of sites."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.membership.identity import ROSTER_FILE
from client.questions import Asked
from client.sum_records import SumRecords
from common.audit import AllowedSet, Audit
from common.errors import AnsweredError, PolicyError
from common.identity import Roster
from deploy.cli import commands
from deploy.simulation.enrol import enrol
from tests.support.hospital import hospital

BEFORE, NOW = ("east", "north", "south"), ("east", "north", "south", "west")


@pytest.fixture
def north(tmp_path: Path) -> Path:
    """A site that was summed with two others, before the fourth came."""
    root = hospital(tmp_path / "north", patients=4).root
    enrol("test", {name: root / "state" if name == "north" else tmp_path / name for name in (*NOW, "ward")})
    SumRecords(root / "state").confirming(asked(root, 1), BEFORE)
    return root


def asked(root: Path, number: int) -> Asked:
    keys = {name: key.hex() for name, key in Roster.read(root / "state" / "identity" / ROSTER_FILE).sites.items()}
    return Asked((f"question {number}",), {"shared": keys}, 1, waits=True)


def call(root: Path, *arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(commands, ["site", "allow-set", *arguments, "--at", str(root)], input=answer)


def test_who_is_shown_is_named_and_one_set_allowed(north: Path) -> None:
    records = SumRecords(north / "state")
    refused = call(north, *NOW, answer="n\n")
    assert refused.exit_code == 1 and "what west alone added" in refused.output
    with pytest.raises(AnsweredError):
        records.confirming(asked(north, 2), NOW)
    allowed = call(north, *NOW, "--yes")
    assert allowed.exit_code == 0, allowed.output
    *_, last = Audit(north / "state" / "audit.jsonl").events()
    assert last.event == AllowedSet(4)
    records.confirming(asked(north, 2), NOW)
    with pytest.raises(AnsweredError):
        records.confirming(asked(north, 3), ("north", "south", "west"))


def test_a_hospital_with_new_keys_is_named_beside_itself_as_it_was(north: Path) -> None:
    shutil.rmtree(north.parent / "south")
    enrol("test", {name: north / "state" if name == "north" else north.parent / name for name in (*NOW, "ward")})
    said = call(north, *BEFORE, answer="n\n").output
    assert "what south alone added" in said and "as it was) alone added" in said


@pytest.mark.parametrize("names", [("east", "south", "west"), ("east", "north"), (*NOW, "nowhere")])
def test_what_is_no_set_of_this_sites_sums_is_refused(north: Path, names: tuple[str, ...]) -> None:
    refused = call(north, *names, "--yes")
    assert isinstance(refused.exception, PolicyError)
    assert not (north / "state" / "audit.jsonl").exists()


def test_a_set_that_shows_nobody_is_said_to_show_nobody(north: Path) -> None:
    said = call(north, *BEFORE, "--yes").output
    assert "Beside the sums that this site was in, such a sum shows nobody." in said
