"""Synthetic hospitals as folders: whole, reproducible, readable, different from each other, and full of identifiers."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from client.data.prepare import prepare
from client.site import read_site
from common.errors import RunError, StudyError
from common.plan import threshold_of
from common.study import read_study
from common.tasks.multiclass import Multiclass
from deploy.research.synthetic.generate import generate
from deploy.research.synthetic.hospital import Hospital
from deploy.research.synthetic.plan import plans
from deploy.research.synthetic.strength import KINDS, Strength
from deploy.research.synthetic.truth import planted
from tests.architecture.outline_task import Outline
from tests.architecture.pair_task import Pair
from tests.support.hospitals import rows

SMALL = 0.08  # of the usual number of patients


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("small") / "hospitals"
    generate(directory, seed=5, scale=SMALL)
    return directory


def sites_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir())


def digests(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# ------------------------------------------------------------------------------------------------ the folder as a whole


def test_the_same_seed_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", seed=5, scale=SMALL)
    assert digests(tmp_path / "again") == digests(made)


def test_another_seed_gives_other_patients_everywhere(made: Path, tmp_path: Path) -> None:
    generate(tmp_path / "other", seed=6, scale=SMALL)
    first, second = digests(made), digests(tmp_path / "other")
    shared = {name for name in first.keys() & second.keys() if first[name] == second[name]}
    assert {Path(name).name for name in shared} == {"site.yaml", "study.yaml"}


def test_it_returns_the_folders_that_it_made(tmp_path: Path) -> None:
    folders = generate(tmp_path / "deep" / "down", sites=3, scale=SMALL)
    assert sorted(folders) == sites_in(tmp_path / "deep" / "down")
    assert all(read_site(folder).file.site == folder.name for folder in folders)


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not an empty folder"):
        generate(tmp_path, scale=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(generate(tmp_path / "empty", sites=3, scale=SMALL)) == 3


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_not_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("kept")
    else:
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError):
        generate(target, scale=SMALL)
    assert target.is_symlink() or target.read_text() == "kept"


def test_a_parent_that_is_a_file_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="hospitals: cannot be made"):
        generate(tmp_path / "file" / "hospitals", scale=SMALL)


def test_an_interrupted_export_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == "northfield" and done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "hospitals", scale=SMALL, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_names_every_hospital_and_ends_at_its_total(tmp_path: Path) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}
    folders = generate(
        tmp_path / "h", scale=SMALL, progress=lambda what, done, total: seen.setdefault(what, []).append((done, total))
    )
    assert list(seen) == [folder.name for folder in folders]
    for steps in seen.values():
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize(("sites", "scale"), [(2, 1.0), (0, 1.0), (51, 1.0), (4, 0.0), (4, -1.0), (4, float("nan"))])
def test_what_cannot_be_made_is_refused_before_anything_is_written(tmp_path: Path, sites: int, scale: float) -> None:
    with pytest.raises(StudyError):
        generate(tmp_path / "hospitals", sites=sites, scale=scale)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- the hospitals


@pytest.mark.parametrize("sites", [3, 4, 5, 8, 13, 50])
def test_every_modality_has_three_owners_and_every_hospital_a_name(sites: int) -> None:
    planned = plans(sites)
    assert len({plan.name for plan in planned}) == sites
    for kind in KINDS:
        assert sum(plan.present[kind] > 0 for plan in planned) >= 3


def test_the_four_are_complete_but_small_without_notes_without_genes_and_with_few_images() -> None:
    complete, no_notes, no_genes, few_images = plans(4)
    assert all(share > 0.9 for share in complete.present.values())
    assert complete.patients < min(plan.patients for plan in (no_notes, no_genes, few_images)) / 2
    assert no_notes.present["note"] == 0 and no_genes.present["genes"] == 0
    assert 0 < few_images.present["image"] <= 0.2
    assert len({plan.prevalence for plan in plans(4)}) == 4


def test_a_lacking_modality_has_no_file_and_no_line_in_site_yaml(made: Path) -> None:
    lacking = {"lindenhof": "notes.csv", "northfield": "genes.csv"}
    for folder in sites_in(made):
        file = read_site(folder).file
        assert bool(file.notes) == (folder / "notes.csv").exists() == (lacking.get(folder.name) != "notes.csv")
        assert bool(file.sequences) == (folder / "genes.csv").exists() == (lacking.get(folder.name) != "genes.csv")


def test_the_product_reads_what_was_written(made: Path) -> None:
    """Through the real data side: the same modalities of the same number of labelled patients as in the truth."""
    study, truth = read_study(made / "study.yaml"), rows(made / "truth.csv")
    for folder in sites_in(made):
        cohort = prepare(read_site(folder), study)
        labelled = [row for row in truth if row["site"] == folder.name and row["labelled"] == "1"]
        parts = (cohort.train, cohort.validation, cohort.test)
        assert sum(len(part) for part in parts) == len(labelled)
        assert sum(int(part.target.sum()) for part in parts) == sum(row["label"] == "1" for row in labelled)
        for column, kind in enumerate(study.names):
            if kind != "record":  # a single gap may leave a record empty that was not meant to be
                found = sum(int(part.present[:, column].sum()) for part in parts)
                assert found == sum(row[kind] != "" for row in labelled), (folder.name, kind)


@pytest.mark.parametrize("sites", [3, 4, 7])
def test_the_studys_threshold_fits_its_hospitals(tmp_path: Path, sites: int) -> None:
    generate(tmp_path / "h", sites=sites, scale=0.01)
    study = read_study(tmp_path / "h" / "study.yaml")
    assert threshold_of(study, sites) == study.secure_sum.threshold


def test_records_have_gaps_and_unknown_outcomes_but_no_unknown_word(made: Path) -> None:
    gaps = cells = unknown = patients = 0
    for folder in sites_in(made):
        file = read_site(folder).file
        source = file.records["record"]
        for row in rows(folder / "records.csv"):
            empty = {"", *source.missing}
            for column, words in source.values.items():
                cell = row[source.columns.get(column, column)]
                assert cell in empty or cell in words
                gaps, cells = gaps + (cell in empty), cells + 1
            outcome = row[file.target.column]
            assert outcome in {"", *file.target.missing} or outcome in file.target.values
            unknown, patients = unknown + (outcome not in file.target.values), patients + 1
    assert 0.02 < gaps / cells < 0.15
    assert 0 < unknown / patients < 0.08


# --------------------------------------------------------------------------------------------------------------- films


def test_films_are_valid_twelve_bit_dicom_of_different_scanners(made: Path) -> None:
    sizes, makers, uids, inverted, count = set(), set(), set(), 0, 0
    for folder in sites_in(made):
        for path in (folder / "images").rglob("*.dcm"):
            data = pydicom.dcmread(path)
            assert (data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation) == (16, 12, 11, 0)
            assert data.pixel_array.shape == (data.Rows, data.Columns) and data.pixel_array.max() <= 4095
            for uid in (data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID):
                assert uid.is_valid and uid.startswith("2.25.")
                uids.add(uid)
            assert data.file_meta.MediaStorageSOPClassUID == data.SOPClassUID
            assert "Image Storage" in data.SOPClassUID.name
            assert data.PatientName and data.PatientBirthDate and data.PatientID and data.StudyDate
            sizes.add((data.Rows, data.Columns))
            makers.add(data.Manufacturer)
            inverted, count = inverted + (data.PhotometricInterpretation == "MONOCHROME1"), count + 1
    assert len(sizes) == len(makers) == 4 and all(64 <= side <= 128 for size in sizes for side in size)
    assert len(uids) == 3 * count
    assert 0.1 < inverted / count < 0.6


def test_an_inverted_film_has_bright_air(made: Path) -> None:
    for folder in sites_in(made):
        for path in (folder / "images").rglob("*.dcm"):
            data = pydicom.dcmread(path)
            pixels = data.pixel_array.astype(float)
            corner, middle = pixels[:8, :4].mean(), pixels[20:-20, pixels.shape[1] // 2].mean()
            assert (corner > middle) == (data.PhotometricInterpretation == "MONOCHROME1")


def test_a_film_belongs_to_a_patient_of_its_hospital(made: Path) -> None:
    for folder in sites_in(made):
        table = {row[read_site(folder).file.patient] for row in rows(folder / "records.csv")}
        owners = [pydicom.dcmread(path).PatientID for path in (folder / "images").rglob("*.dcm")]
        assert set(owners) <= table and len(set(owners)) == len(owners)


# --------------------------------------------------------------------------------------------------------- identifiers


def test_identifiers_stand_in_notes_headers_and_tables(made: Path) -> None:
    for folder in sites_in(made):
        known, file = set(planted(made)[folder.name]), read_site(folder).file
        for row in rows(folder / "records.csv"):
            who = [row[column] for identity in file.identity for column in identity.columns]
            assert len(who) == 5 and set(who) <= known
        for path in (folder / "images").rglob("*.dcm"):
            data = pydicom.dcmread(path)
            assert {str(data.PatientName), data.PatientBirthDate, data.PatientID, data.StudyDate} <= known
        notes = rows(folder / "notes.csv") if file.notes else []
        texts = [row["text"] for row in notes]
        assert all(any(identifier in text for identifier in known) for text in texts)


def test_notes_name_patients_relatives_dates_numbers_phones_and_addresses(made: Path) -> None:
    for folder in sites_in(made):
        file = read_site(folder).file
        if not file.notes:
            continue
        patients = {row[file.patient]: row for row in rows(folder / "records.csv")}
        name, birth, phone, email, relative = file.identity[0].columns
        said = dict.fromkeys(("number", name, birth, phone, email, relative), 0)
        for row in rows(folder / "notes.csv"):
            person = patients[row[file.notes["note"].patient or file.patient]]
            said["number"] += person[file.patient] in row["text"]
            for column in (birth, phone, email):
                said[column] += person[column] in row["text"]
            for column in (name, relative):
                said[column] += any(part in row["text"] for part in person[column].split())
        assert all(count >= 3 for count in said.values()), said


def test_truth_and_study_say_nothing_personal(made: Path) -> None:
    public = (made / "truth.csv").read_text() + (made / "study.yaml").read_text()
    for identifiers in planted(made).values():
        assert [identifier for identifier in identifiers if identifier in public] == []


def test_truth_adds_up(made: Path) -> None:
    for row in rows(made / "truth.csv"):
        scores = [float(row[kind]) for kind in KINDS if row[kind]]
        assert scores and np.isclose(sum(scores), float(row["fusion"]), atol=1e-4)


# ----------------------------------------------------------------------------------------------- the study's own target

STAGES = ["mild", "severe", "worse"]


def test_the_hospitals_have_the_targets_of_the_task_that_is_asked_for(tmp_path: Path) -> None:
    """Words of their own for the usual classes alone; what else they have is the same."""
    task = Multiclass(kind="multiclass", classes=STAGES)
    folders = generate(tmp_path / "stages", sites=3, scale=SMALL, task=task)
    generate(tmp_path / "usual", sites=3, scale=SMALL)
    ours, usual = digests(tmp_path / "stages"), digests(tmp_path / "usual")
    assert {Path(name).name for name in ours if ours[name] != usual[name]} == {"records.csv", "site.yaml", "study.yaml"}
    study = read_study(tmp_path / "stages" / "study.yaml")
    assert study.task == task
    counts = sum(task.counted(prepare(read_site(folder), study).train.target.numpy()) for folder in folders)
    assert all(counts > 5)


def test_parts_of_a_target_have_gaps_of_their_own(tmp_path: Path) -> None:
    task = Pair(kind="pair", high=10.0)
    generate(tmp_path / "usual", sites=3, scale=SMALL)
    study = read_study(tmp_path / "usual" / "study.yaml")
    Hospital(plans(3, SMALL)[1], Strength(), 0, 1, task).write(tmp_path / "pairs")
    cohort = prepare(read_site(tmp_path / "pairs"), replace(study, task=task))
    told = Counter(len(known) for known in cohort.told.values())
    assert told[1] > 0 and told[2] > 3 * told[1]


def test_hospitals_for_a_target_that_is_no_column_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="not for outline"):
        generate(tmp_path / "maps", sites=3, task=Outline(kind="outline", image="image"))
    assert not (tmp_path / "maps").exists()
