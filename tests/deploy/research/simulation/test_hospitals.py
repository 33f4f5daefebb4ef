"""Hospitals as they come: of one class, with films that are cut short, with names that the study does not have."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from client.data.losses import losses, loud
from client.data.prepare import prepare
from client.site import read_site
from common.errors import CohortError, DataError, RunError
from common.study import Study, study_text
from deploy.cli import commands
from deploy.research.simulation.baselines import Contender, train_and_judge
from deploy.research.simulation.hospitals import hospitals_in, oddities
from deploy.research.simulation.simulate import Simulation, simulate
from server.report.evidence import from_json, to_json
from server.run.classes import require_two_classes
from tests.support.hospital import hospital, person, study_of, write_csv, write_dicom, write_site
from tests.support.scripted import PLAIN, PRIVATE

NAMES = ("east", "north", "south", "west")
Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def change(root: Path, edit: Callable[[Row], Row]) -> None:
    write_csv(root / "records.csv", [edit(row) for row in rows_of(root / "records.csv")])


def consortium(folder: Path, study: Study) -> Path:
    """Four hospitals of tables alone, and the study's file."""
    for place, name in enumerate(NAMES):
        hospital(folder / name, 16, first=20 * place)
        write_site(folder / name, {"site": name, "images": None, "notes": None})
    (folder / "study.yaml").write_text(study_text(study), encoding="utf-8")
    return folder


def plain(**more: Any) -> Study:
    training = {"local_steps": 2, "batch_size": 4}
    return study_of(PLAIN | {"training": training} | more, modalities=["labs", "genes"])


def check(folder: Path) -> Result:
    return CliRunner().invoke(commands, ["study", "check", str(folder / "study.yaml"), "--hospitals", str(folder)])


def test_a_site_of_one_class_takes_part_and_the_run_ends_with_a_report(tmp_path: Path) -> None:
    study = plain()
    folder = consortium(tmp_path / "h", study)
    change(folder / "north", lambda row: row | {"outcome": "dead"})
    outcome, evidence = simulate(Simulation(study, hospitals_in(folder), tmp_path / "run", workers=1, compare=False))
    assert outcome.sites == 4
    (tested,) = evidence.comparisons  # nothing to compare with, and still the score of the test patients
    assert tested.kind == "federated" and tested.metrics == outcome.test
    assert any(words.startswith("north: All 16 patients have the same target") for words in evidence.warnings)
    kept = json.loads((tmp_path / "run" / "sites" / "north" / "data.json").read_text())
    assert "All 16 patients" in kept["warnings"][0] and kept["counts"]["target: values"] == 16
    assert from_json(to_json(evidence)) == evidence


def test_a_consortium_of_one_class_is_refused_and_one_other_patient_is_enough(tmp_path: Path) -> None:
    folder = consortium(tmp_path, plain())
    for name in NAMES:
        change(folder / name, lambda row: row | {"outcome": "dead"})
    refused = check(folder)
    assert isinstance(refused.exception, CohortError) and "all 4 sites are of one class, dead" in str(refused.exception)
    change(folder / "west", lambda row: row | {"outcome": "alive"})
    assert check(folder).exception is None


@pytest.mark.parametrize(
    ("mode", "classes", "refused"), [(PLAIN, [0, 9], True), (PLAIN, [1, 9], False), (PRIVATE, [0, 9], False)]
)
def test_a_coordinator_refuses_one_class_by_the_exact_sum_alone(mode: Any, classes: list[int], refused: bool) -> None:
    study = study_of(mode, modalities=["labs"])
    if not refused:
        require_two_classes(study, np.array(classes, float))
        return
    with pytest.raises(RunError, match="of one class, dead"):
        require_two_classes(study, np.array(classes, float))


def test_study_check_names_all_bad_sites_at_once(tmp_path: Path) -> None:
    folder = consortium(tmp_path, plain())
    (folder / "east" / "genes.csv").unlink()
    change(folder / "south", lambda row: row | {"sex": "unknown"})
    said = check(folder)
    assert said.exception is not None
    both = f"{said.exception}"
    assert "2 of 4 sites" in both and "east:" in both and "south:" in both and "genes.csv" in both and "'sex'" in both
    assert "north: has labs, genes" in said.output and "west: has" in said.output


def test_a_modality_and_a_folder_that_would_be_passed_over_are_named(tmp_path: Path) -> None:
    study = plain()
    folder = consortium(tmp_path, study)
    assert oddities(study, folder) == []
    (folder / "lost").mkdir()
    write_site(
        folder / "north", {"site": "north", "images": None, "notes": None, "records": {"lab": {"file": "x.csv"}}}
    )
    assert [words.removeprefix(str(folder)) for words in oddities(study, folder)] == [
        "/lost: has no site.yaml, so it is no hospital and takes no part.",
        "/north/site.yaml: lab is no modality of study demo: not used. Did you mean labs?",
    ]
    assert "Did you mean labs?" in check(folder).output


# ------------------------------------------------------------------------------------------------------------- losses


def with_films(root: Path, *, cut: int, of: int) -> None:
    """One film a patient, of which some end in the middle of their pixels."""
    hospital(root, of)
    for path in (root / "images").glob("*/*"):
        path.unlink()
    for number in range(of):
        path = root / "images" / f"{number}.dcm"
        write_dicom(path, np.full((16, 16), 900, np.uint16), PatientID=person(number).patient)
        if number < cut:
            path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
@pytest.mark.parametrize(("cut", "is_loud"), [(0, False), (2, False), (3, True)])
def test_films_that_are_cut_short_are_counted_and_said_loudly_above_a_tenth(
    tmp_path: Path, mode: Any, cut: int, is_loud: bool
) -> None:
    with_films(tmp_path, cut=cut, of=20)
    counts = prepare(read_site(tmp_path), study_of(mode, modalities=["xray", "labs"])).counts
    found = [loss.text for loss in losses(counts)]
    assert any(text.startswith(f"images.xray: {cut} of 20 images that cannot be decoded") for text in found) == (
        cut > 0
    )
    assert bool(loud(losses(counts))) == is_loud


def test_an_absent_modality_is_not_lost(tmp_path: Path) -> None:
    hospital(tmp_path, 12)  # every third has no image, every fourth no note
    assert losses(prepare(read_site(tmp_path), study_of()).counts) == []


def test_numbers_that_lost_their_zeros_are_named_as_such(tmp_path: Path) -> None:
    """The table went through a spreadsheet, the images did not."""
    for number in range(8):
        write_dicom(
            tmp_path / "images" / f"{number}.dcm", np.eye(16, dtype=np.uint16) * 9, PatientID=f"00{number + 11}"
        )
    rows = [
        {
            "patient_id": f"{number + 11}" if number < 7 else "0018",
            "outcome": ["alive", "dead"][number % 2],
            "pulse": 70,
        }
        for number in range(8)
    ]
    write_csv(tmp_path / "records.csv", rows)
    table = {"file": "records.csv"}
    site = write_site(tmp_path, {"records": {"labs": table}, "notes": None, "sequences": None, "identity": None})
    labs = {"kind": "record", "numeric": {"pulse": {"low": 0, "high": 300}}}
    study = study_of({"modalities": {"xray": {"kind": "image", "size": 16}, "labs": labs}})
    (found,) = losses(prepare(site, study).counts)
    assert found.text == "images.xray: 7 of 8 patients whose number matches the target's file but for leading zeros"
    write_csv(tmp_path / "records.csv", rows[:7])
    with pytest.raises(DataError, match="7 of them would match but for leading zeros"):
        prepare(site, study)


def test_study_check_says_what_is_lost_in_red_words(tmp_path: Path) -> None:
    with_films(tmp_path / "north", cut=9, of=12)
    (tmp_path / "study.yaml").write_text(study_text(study_of(PLAIN, modalities=["xray", "labs"])), encoding="utf-8")
    said = check(tmp_path).output
    assert "LOST MUCH: images.xray: 9 of 12 images are LOST, 75 %" in said
    assert "9 of 12 images that cannot be decoded" in said


# --------------------------------------------------------------------------------------------- a model to compare with


def test_a_comparison_that_diverges_costs_its_row_only(tmp_path: Path) -> None:
    study = plain(rounds=2)
    folder = consortium(tmp_path, study)
    wild = plain(rounds=2, training={"local_steps": 40, "batch_size": 4, "learning_rate": 1e30})
    pooled = Contender("pooled", "pooled", (0, 1, 2, 3))
    diverged = train_and_judge(wild, hospitals_in(folder), pooled)
    assert np.isnan(diverged.metrics["auc"]) and diverged.said == "its training diverged: no model"
    tame = train_and_judge(study, hospitals_in(folder), pooled)
    assert tame.metrics["cases"] > 0 and tame.said.startswith("best round")


def test_a_second_demo_leaves_the_first_ones_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.commands import research

    monkeypatch.chdir(tmp_path)
    report = tmp_path / "runs" / "demo" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("the first")
    assert research._free(Path("runs/demo")) == Path("runs/demo-2")
    Path("runs/demo-2").mkdir()
    assert research._free(Path("runs/demo")) == Path("runs/demo-3")
    assert research._free(Path("runs/other")) == Path("runs/other") and report.read_text() == "the first"
