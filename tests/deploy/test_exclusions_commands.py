"""What a steward sees of the list of opt-outs, and where it is accepted: commands as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.consent.approvals import Approvals
from client.data.accepted import is_accepted
from client.data.exclusions import found_here
from client.data.prepare import prepare
from client.preflight import preflight
from client.site import SiteFolder, read_site
from common.study import study_text
from deploy.cli import commands
from tests.support.hospital import hospital, person, study_of, write_site
from tests.support.scripted import PRIVATE

STUDY = study_of(modalities=["labs"])
NEAR = f"{person(3).patient.lower()};objected by letter"


@pytest.fixture
def north(tmp_path: Path) -> SiteFolder:
    root = tmp_path / "h" / "north"
    hospital(root)
    (root / "list.csv").write_text(f"patient_id\n4711\n{NEAR}\n{person(5).patient}\n", encoding="utf-8")
    (tmp_path / "study.yaml").write_text(study_text(STUDY), encoding="utf-8")
    return write_site(root, {"exclusions": "list.csv"})


def call(*arguments: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(commands, [str(one) for one in arguments], input=answer)


SAID = "3 listed, 2 found here, 1 by a near miss (line 3)"


def test_study_check_site_check_and_approval_say_what_the_list_comes_to(north: SiteFolder, tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    checked = call("study", "check", study, "--hospitals", tmp_path / "h")
    assert SAID in checked.output, checked.output
    approved = call("site", "approve", study, "--at", north.root, answer="y\n")
    assert f"Opted out: {SAID}." in approved.output and approved.output.count("?") == 1
    assert Approvals(north.root / "state").all()[STUDY.digest].approved
    shown = call("site", "exclusions", "--at", north.root)
    assert shown.exit_code == 0 and SAID in shown.output
    check = {one.what: one for one in preflight(north)}["opt-outs"]
    assert check.well is None and check.sentence == SAID  # to be looked at, not wrong
    said = checked.output + approved.output + shown.output
    assert person(3).patient not in said.upper() and person(5).patient not in said


@pytest.mark.parametrize("answers", ["y\ny\n", "n\ny\n"])
def test_approval_asks_about_a_list_that_finds_nobody(north: SiteFolder, tmp_path: Path, answers: str) -> None:
    (north.root / "list.csv").write_text("patient_id\n4711\n4712\n", encoding="utf-8")
    done = call("site", "approve", tmp_path / "study.yaml", "--at", north.root, answer=answers)
    assert "2 listed, 0 found here" in done.output and "Nobody in it is a patient here" in done.output
    accepted = answers[0] == "y"
    assert is_accepted(north.root / "state", found_here(north)) == accepted
    assert (STUDY.digest in Approvals(north.root / "state").all()) == accepted, done.output


def test_a_yes_to_the_study_is_none_to_the_list(north: SiteFolder, tmp_path: Path) -> None:
    (north.root / "list.csv").write_text("patient_id\n4711\n", encoding="utf-8")
    done = call("site", "approve", tmp_path / "study.yaml", "--at", north.root, "--yes")
    assert done.exit_code == 1 and "site exclusions --accept" in done.output
    assert STUDY.digest not in Approvals(north.root / "state").all()
    refused = call("study", "check", tmp_path / "study.yaml", "--hospitals", tmp_path / "h")
    assert refused.exception is not None and "Nobody in it" in str(refused.exception)
    looked = call("site", "exclusions", "--at", north.root)
    assert looked.exit_code == 1 and "--accept" in looked.output
    assert call("site", "exclusions", "--accept", "--at", north.root, answer="n\n").exit_code == 1
    assert not is_accepted(north.root / "state", found_here(north))
    assert call("site", "exclusions", "--accept", "--at", north.root, answer="y\n").exit_code == 0
    again = call("study", "check", tmp_path / "study.yaml", "--hospitals", tmp_path / "h")
    assert again.exit_code == 0 and "1 listed, 0 found here" in again.output


def test_whom_earlier_lists_left_out_is_said_and_taken_off_by_a_person(north: SiteFolder, tmp_path: Path) -> None:
    """A private study keeps to them. Status, check, approval and the command say how many; an agreed list has none."""
    study = study_of(PRIVATE, modalities=["labs"])
    (tmp_path / "study.yaml").write_text(study_text(study), encoding="utf-8")
    assert call("site", "approve", tmp_path / "study.yaml", "--at", north.root, answer="y\n").exit_code == 0
    (north.root / "list.csv").write_text(f"patient_id\n{person(5).patient}\n", encoding="utf-8")
    shown = call("site", "exclusions", "--at", north.root)
    assert shown.exit_code == 1 and person(3).patient not in shown.output
    approved = call("site", "approve", tmp_path / "study.yaml", "--at", north.root, answer="y\n")
    check = {one.what: one for one in preflight(north)}["opt-outs"]
    for said in shown.output, approved.output, check.sentence, call("site", "status", "--at", north.root).output:
        assert "left out 1 more whom this one does not name" in said and "site exclusions --accept" in said
    assert check.well is None and len(prepare(north, study).sides) == 14
    assert call("site", "exclusions", "--accept", "--at", north.root, answer="n\n").exit_code == 1
    assert len(prepare(north, study).sides) == 14
    assert call("site", "exclusions", "--accept", "--at", north.root, answer="y\n").exit_code == 0
    assert len(prepare(north, study).sides) == 15
    assert "more whom" not in call("site", "exclusions", "--at", north.root).output


def test_approval_of_a_site_whose_list_is_missing_says_so(north: SiteFolder, tmp_path: Path) -> None:
    (north.root / "list.csv").unlink()
    done = call("site", "approve", tmp_path / "study.yaml", "--at", read_site(north.root).root, answer="y\n")
    assert done.exit_code == 1 and "does no work" in done.output and "cannot be read" in str(done.exception)


def test_a_simulation_says_what_each_list_comes_to(
    north: SiteFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call("simulate", tmp_path / "study.yaml", "--hospitals", tmp_path / "h", "--no-compare")
    assert f"north: opted out: {SAID}" in done.output
    assert done.exception is not None  # one site is no consortium; what is said comes before all work
