"""`wardround site allow-set`: a person is told whom a sum would show, and allows just that set of sites."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.consent.approvals import keep_study
from client.exact_sums.asked import Asked
from client.exact_sums.sum_records import SumRecords
from client.membership.identity import ROSTER_FILE
from common.disk.audit import AllowedSet, Audit
from common.errors import AnsweredError, PolicyError
from common.identity.roster import Roster
from deploy.cli import commands
from deploy.research.simulation.enrol import enrol
from tests.support.hospital import hospital
from tests.support.tiny import study_of

BEFORE, NOW = ("east", "north", "south"), ("east", "north", "south", "west")


@pytest.fixture
def north(tmp_path: Path) -> Path:
    """A site that was summed with two others, before the fourth came."""
    root = hospital(tmp_path / "north", patients=4).root
    enrol("test", {name: root / "state" if name == "north" else tmp_path / name for name in (*NOW, "ward")})
    SumRecords(root / "state").confirming(asked(root, 1), BEFORE)
    return root


def asked(root: Path, number: int, colluding: int = 1) -> Asked:
    keys = {name: key.hex() for name, key in Roster.read(root / "state" / "identity" / ROSTER_FILE).sites.items()}
    return Asked((f"question {number}",), {"shared": keys}, colluding, waits=True)


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


def test_an_allowed_set_is_asked_about_again_when_it_shows_others_than_the_person_was_told_of(north: Path) -> None:
    """West was named. Since then a set was summed beside which the same sum shows south and ward too."""
    records, others = SumRecords(north / "state"), ("east", "north", "ward")
    assert "south" not in call(north, *NOW, "--yes").output
    call(north, *others, "--yes")
    records.confirming(asked(north, 2), others)
    with pytest.raises(AnsweredError, match="Ask again"):
        records.confirming(asked(north, 3), NOW)
    said = call(north, *NOW, "--yes").output
    assert "what south alone added" in said and "what west alone added" in said and "what ward (key" in said
    records.confirming(asked(north, 3), NOW)
    records.confirming(asked(north, 4), others)  # the same sites as before show nothing new


def test_what_a_person_is_told_counts_the_colluding_sites_of_the_studies_that_are_kept(north: Path) -> None:
    """Where two may collude, three sites together show the third."""
    records = SumRecords(north / "state")
    assert "together" not in call(north, *NOW, "--yes").output
    with pytest.raises(AnsweredError, match="Ask again"):
        records.confirming(asked(north, 2, colluding=2), NOW)
    keep_study(north / "state", study_of("chart", secure_sum={"colluding": 2}))
    assert "east, north, south together" in call(north, *NOW, "--yes").output
    records.confirming(asked(north, 2, colluding=2), NOW)


def test_what_was_displayed_is_what_is_allowed(north: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set is summed while the person reads."""
    records, others = SumRecords(north / "state"), ("east", "north", "ward")
    call(north, *others, "--yes")
    monkeypatch.setattr("click.confirm", lambda _: records.confirming(asked(north, 2), others) or True)
    assert call(north, *NOW).exit_code == 0
    with pytest.raises(AnsweredError, match="Ask again"):
        records.confirming(asked(north, 3), NOW)


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
