"""A simulation that goes on: over the hospitals that it began with, and over no others."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import CohortError, RunError
from deploy.research.simulation.hospitals import Looked, look
from deploy.research.simulation.resumed import keep, require_same, require_same_sites
from deploy.research.simulation.simulate import Simulation, simulate
from tests.client.data.test_opt_outs import write_list
from tests.support.hospital import hospital, person, study_of, write_site

STUDY = study_of(modalities=["labs"])
ONLY = {"images": None, "notes": None, "sequences": None}


def seen(root: Path, **more: object) -> Looked:
    write_site(root, ONLY | more)
    found = look(root, STUDY)
    assert found.error is None, found.error
    return found


@pytest.fixture
def begun(tmp_path: Path) -> Looked:
    """A run has begun over the hospital in `a`; what it keeps lies in `sites`."""
    hospital(tmp_path / "a", 16)
    found = seen(tmp_path / "a")
    keep(found, tmp_path / "sites")
    return found


def goes_on(found: Looked, sites: Path) -> tuple[str, ...]:
    said = require_same([found], sites, trained=True)[found.site]
    keep(found, sites, goes_on=True)
    return said


def test_other_patients_are_another_hospital_also_with_the_state_of_the_first(begun, tmp_path) -> None:
    shutil.copytree(tmp_path / "a" / "state", tmp_path / "b" / "state")
    hospital(tmp_path / "b", 16, first=500)
    with pytest.raises(RunError, match=r"north \(16 of 16 patients\): not the patients whom this run began with"):
        goes_on(seen(tmp_path / "b"), tmp_path / "sites")
    hospital(tmp_path / "a", 17)
    with pytest.raises(RunError, match="1 of 17 patients"):
        goes_on(seen(tmp_path / "a"), tmp_path / "sites")


def test_the_same_patients_are_no_other_hospital(begun, tmp_path) -> None:
    """Its state was cleaned; then somebody opted out, and is taken off the list again; then one left the file, and came
    back. What is said is true from there on.
    """
    shutil.rmtree(tmp_path / "a" / "state")
    (said_once,) = goes_on(seen(tmp_path / "a"), tmp_path / "sites")
    assert "its state folder is another than when this run began" in said_once  # or it is another hospital
    assert goes_on(seen(tmp_path / "a"), tmp_path / "sites") == ()
    write_list(tmp_path / "a", person(3).patient)
    said = goes_on(seen(tmp_path / "a", exclusions="list.csv"), tmp_path / "sites")
    assert said == ("1 more opted out since this run began. They are in no round from here on.",)
    assert goes_on(seen(tmp_path / "a", exclusions="list.csv"), tmp_path / "sites") == said
    back = "opted out, or were not there, for a part of this run, and take part again from here on."
    for _ in range(2):  # it stays in the report
        assert goes_on(seen(tmp_path / "a"), tmp_path / "sites") == (f"1 {back}",)
    hospital(tmp_path / "a", 15)
    said = goes_on(seen(tmp_path / "a"), tmp_path / "sites")
    assert said == ("1 who were here when this run began have left the target's file.", f"1 {back}")
    hospital(tmp_path / "a", 16)
    assert goes_on(seen(tmp_path / "a"), tmp_path / "sites") == (f"2 {back}",)


def test_who_had_opted_out_when_the_run_began_does_not_come_in(tmp_path: Path) -> None:
    """The numbers of those on the list were compared: five came in beside one who opted out, and nothing was said."""
    hospital(tmp_path / "a", 16)
    first = [person(number).patient for number in range(6)]
    write_list(tmp_path / "a", *first)
    keep(seen(tmp_path / "a", exclusions="list.csv"), tmp_path / "sites")
    kept = (tmp_path / "sites" / "north" / "data.json").read_bytes()
    for lines in ([person(15).patient], first[1:]):
        write_list(tmp_path / "a", *lines)
        with pytest.raises(RunError, match=r"north \(\d of \d+ patients\): took no part when this run began"):
            goes_on(seen(tmp_path / "a", exclusions="list.csv"), tmp_path / "sites")
        assert (tmp_path / "sites" / "north" / "data.json").read_bytes() == kept
    write_list(tmp_path / "a", *first, person(15).patient)
    said = goes_on(seen(tmp_path / "a", exclusions="list.csv"), tmp_path / "sites")
    assert said == ("1 more opted out since this run began. They are in no round from here on.",)


def test_a_run_whose_key_is_gone_says_so(begun, tmp_path) -> None:
    """It went on over any patients, and refused the same ones from then on."""
    key = tmp_path / "sites" / "patients.key"
    held = key.read_bytes()
    key.unlink()
    shutil.copytree(tmp_path / "a" / "state", tmp_path / "b" / "state")
    hospital(tmp_path / "b", 16, first=500)
    for name in "a", "b":
        with pytest.raises(RunError, match=r"patients.key: is not there.*Put it back from a copy"):
            goes_on(seen(tmp_path / name), tmp_path / "sites")
    assert not key.exists()
    key.write_bytes(held)
    assert goes_on(seen(tmp_path / "a"), tmp_path / "sites") == ()


def test_a_run_that_begins_anew_does_not_ask_for_the_sites_of_a_first_try(begun, tmp_path) -> None:
    """A first try over the wrong folder never trained: the run after it was refused whenever it was to go on."""
    run = tmp_path / "run"
    keep(replace(begun, site="wrong"), run / "sites")
    plan = Simulation(study_of(modalities=["genes"]), (tmp_path / "a",) * 3, run, compare=False)
    with pytest.raises(CohortError, match="no site has this modality"):
        simulate(plan)
    assert not list(run.glob("sites/*/data.json"))
    keep(begun, run / "sites")
    with pytest.raises(CohortError, match="no site has this modality"):
        simulate(replace(plan, resume=True))
    assert list(run.glob("sites/*/data.json")), "a run that goes on keeps them"


def test_what_is_kept_of_the_patients_says_nothing_without_the_key(begun, tmp_path) -> None:
    text = (tmp_path / "sites" / "north" / "data.json").read_text()
    assert len(json.loads(text)["patients"]) == 16
    assert all(secret not in text for number in range(16) for secret in person(number).secrets)
    assert (tmp_path / "sites" / "patients.key").stat().st_mode & 0o777 == 0o600
    keep(begun, tmp_path / "another")
    other = json.loads((tmp_path / "another" / "north" / "data.json").read_text())["patients"]
    assert not {*other} & {*json.loads(text)["patients"]}


def test_the_sites_are_those_that_the_run_began_with(begun, tmp_path) -> None:
    """Three of four were replaced under new names, and it went on."""
    (tmp_path / "sites" / "west").mkdir()
    shutil.copy(tmp_path / "sites" / "north" / "data.json", tmp_path / "sites" / "west")
    require_same_sites(["north", "west"], tmp_path / "sites", trained=True)
    for names, words in (
        (["north"], "west not there any more"),
        (["north", "new"], "west not there any more; new not there then"),
        (["new", "north", "west"], "new not there then"),
    ):
        with pytest.raises(RunError, match=words):
            require_same_sites(names, tmp_path / "sites", trained=True)
    require_same_sites(["new", "north", "west"], tmp_path / "sites", trained=False)  # a kill kept some of them
    require_same_sites(["new"], tmp_path / "of an earlier release", trained=True)


@pytest.mark.parametrize("cut", [None, '{"counts": {', "[]", "{}"])
def test_what_does_not_say_which_hospital_it_was_refuses_no_run(tmp_path: Path, cut: str | None) -> None:
    """A file that a kill cut off, or of an earlier release; one that says so refuses another folder."""
    north, other = Looked("north", hospital="a"), Looked("north", hospital="b", patients=frozenset({"1"}))
    path = tmp_path / "north" / "data.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"lines": [], "warnings": [], "counts": {}, "hospital": "a"}))
    goes_on(north, tmp_path)
    with pytest.raises(RunError, match="another folder"):
        goes_on(other, tmp_path)
    path.unlink() if cut is None else path.write_text(cut)
    goes_on(other, tmp_path)


def test_a_newer_file_is_refused_as_newer(begun, tmp_path) -> None:
    path = tmp_path / "sites" / "north" / "data.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(RunError, match="newer release"):
        goes_on(begun, tmp_path / "sites")


def test_before_anything_was_trained_the_data_may_be_mended(begun, tmp_path) -> None:
    hospital(tmp_path / "a", 17)
    found = seen(tmp_path / "a")
    assert require_same([found], tmp_path / "sites", trained=False) == {"north": ()}
    keep(found, tmp_path / "sites")
    assert goes_on(found, tmp_path / "sites") == ()
