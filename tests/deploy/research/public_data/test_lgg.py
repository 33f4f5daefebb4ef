"""TCGA glioma as hospitals: who is in it, what a model may see of them, and foreign files."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from client.data.prepare import prepare
from client.data.statistics import statistic_sums
from client.site import read_site
from common.errors import DataError, StudyError
from common.study import read_study
from deploy.research.public_data.lgg import FOLDS, PLACES, lgg
from deploy.research.public_data.lgg_columns import ARMS, CLINICAL, FORBIDDEN, FORBIDDEN_PREFIXES, MUTATIONS
from deploy.research.public_data.wrap import wrap

REAL = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "lgg"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the public glioma tables are not at ../shared/data/lgg")
PATIENTS = {"CS": 18, "DU": 55, "HT": 24, "HW": 11, "TM": 10}
DEATHS = {"CS": 5, "DU": 26, "HT": 6, "HW": 2, "TM": 3}
PICTURED = {"CS": 13, "DU": 23, "HT": 10}
GENES = ("ENSG01.1", "ENSG02.2", "ENSG03.3", "ENSG04.4")
HIDDEN = [*FORBIDDEN, "label_grade", "label_idh_mutant", "cluster_RNASeq", "gen_buffa_hypoxia", "histology"]
SECRET = "31.75"  # a cell that no message may repeat

Row = dict[str, str]
Rows = list[Row]


def table(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Rows) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def made_up(number: int, site: str) -> Row:
    """A patient with every column that the real table has for one: every third dies early, every seventh leaves."""
    random = np.random.default_rng(number)
    dies, leaves = number % 3 == 0, number % 7 == 6
    return {
        "patient_id": f"TCGA-{site}-{number:04d}",
        "site": site,
        **dict.fromkeys(CLINICAL, ""),
        "age": f"{random.integers(20, 80)}",
        "sex": str(random.choice(["Female", "Male"])),
        **{f"mut_{gene}": str(random.integers(2)) for gene in MUTATIONS},
        **{f"cna_{arm}": str(random.integers(-1, 2)) for arm in ARMS},
        **{name: f"hidden {name} {number}" for name in HIDDEN},
        "os_months": f"{random.uniform(1, 35) if dies or leaves else random.uniform(37, 99):.2f}",
        "os_event": "1" if dies and not leaves else "0",
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Made-up tables as the real ones are: three hospitals with pictures, one without, one that is too small."""
    folder = tmp_path / "public"
    (folder / "flair").mkdir(parents=True)
    sites = ["DU"] * 20 + ["HT"] * 20 + ["CS"] * 20 + ["HW"] * 14 + ["QH"] * 8
    rows = [made_up(number, site) for number, site in enumerate(sites)]
    random = np.random.default_rng(0)
    slices: Rows = []
    for number, row in enumerate(rows):
        if row["site"] in ("DU", "HT", "CS") and number % 6 == 0:  # most patients have none
            slices += [{"patient_id": row["patient_id"], "position": f"{n / 11}", "image_file": ""} for n in range(12)]
    for number, one in enumerate(slices):
        one["image_file"] = f"flair/{number}.png"
        Image.fromarray(random.integers(0, 255, (9, 9), dtype=np.uint8)).save(folder / one["image_file"])
    write(folder / "patients.csv", rows)
    write(folder / "slices.csv", slices)
    cells = [{"patient_id": row["patient_id"], **{gene: f"{random.normal():.3f}" for gene in GENES}} for row in rows]
    write(folder / "expression.csv", cells)
    return folder


def change(source: Path, name: str, edit: Callable[[Row], Row]) -> None:
    write(source / name, [edit(dict(row)) for row in table(source / name)])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lgg") / "hospitals"
    lgg(REAL, out)
    return out


# -------------------------------------------------------------------------------------------------------- leak rules


def is_hidden(name: str) -> bool:
    bare = name.removeprefix("mut_").removeprefix("cna_")
    return bare in FORBIDDEN or bare.startswith(FORBIDDEN_PREFIXES)


def names_in(folder: Path) -> set[str]:
    """Every column of every table, and every word of every YAML file."""
    found = {name for path in folder.rglob("*.csv") for name in next(csv.reader(path.open(newline="")))}
    return found | {word for path in folder.rglob("*.yaml") for word in re.findall(r"\w+", path.read_text())}


@real
def test_no_forbidden_column_is_written_from_the_real_tables(made: Path) -> None:
    header = next(csv.reader((REAL / "patients.csv").open(newline="")))
    assert len([name for name in header if is_hidden(name)]) == 29 and not any(map(is_hidden, names_in(made)))
    allowed = {"patient_id", "died_36m", "fold", *CLINICAL, *MUTATIONS, *ARMS}
    genes = set(next(csv.reader((REAL / "expression.csv").open(newline=""))))
    columns = {name for path in made.rglob("*.csv") for name in next(csv.reader(path.open(newline="")))}
    assert columns == allowed | genes


@real
def test_no_real_column_is_a_forbidden_one_under_another_name(made: Path) -> None:
    """Over all hospitals together: in one of ten patients a mutation may well be what another column says as well."""
    public = {row["patient_id"]: row for row in table(REAL / "patients.csv")}
    for file in ("clinical", "mutations", "arms"):
        rows = [row for path in sorted(made.glob(f"*/{file}.csv")) for row in table(path)]
        hidden = {
            tuple(public[row["patient_id"]][name] for row in rows): name
            for name in public[rows[0]["patient_id"]]
            if is_hidden(name)
        }
        for name in set(rows[0]) - {"patient_id"}:
            found = tuple(row[name] for row in rows)
            assert found not in hidden, f"{file}.csv: {name} is {hidden[found]}"


def test_what_is_hidden_changes_nothing_that_is_written(source: Path, tmp_path: Path) -> None:
    """Every forbidden column rewritten, and each survival time moved on its own side of 36 months: the same bytes."""
    lgg(source, tmp_path / "before")

    def other(row: Row) -> Row:
        known = {
            name: f"other {row[name]}" for name in row if is_hidden(name) and name not in ("os_months", "os_event")
        }
        months = float(row["os_months"])
        return row | known | {"os_months": f"{months / 2 if months <= 36 else months + 50}"}

    change(source, "patients.csv", other)
    lgg(source, tmp_path / "after")
    assert files(tmp_path / "before") == files(tmp_path / "after")


def test_the_outcome_is_in_one_file_only(source: Path, tmp_path: Path) -> None:
    """Everybody's outcome turned round, those who left early left alone: only labels and folds differ."""
    lgg(source, tmp_path / "before")

    def turned(row: Row) -> Row:
        if float(row["os_months"]) > 36:
            return row | {"os_months": "5", "os_event": "1"}
        return row | {"os_months": "80", "os_event": "0"} if row["os_event"] == "1" else row

    change(source, "patients.csv", turned)
    lgg(source, tmp_path / "after")
    before, after = files(tmp_path / "before"), files(tmp_path / "after")
    assert set(before) == set(after)
    assert {Path(name).name for name in before if before[name] != after[name]} == {"outcome.csv"}


def test_test_patients_do_not_touch_what_the_sites_normalise_by(source: Path, tmp_path: Path) -> None:
    lgg(source, tmp_path / "before", fold=2)
    outcomes = [row for path in (tmp_path / "before").rglob("outcome.csv") for row in table(path)]
    tested = {row["patient_id"] for row in outcomes if row["fold"] == "2"}

    def loud(row: Row) -> Row:
        return row | dict.fromkeys(GENES, "9") if row["patient_id"] in tested else row

    def summed(folder: Path, part: str) -> np.ndarray:
        study = read_study(folder / "study.yaml")
        sums = [statistic_sums(study, prepare(read_site(path), study)) for path in sorted(folder.glob("?*/"))]
        return np.concatenate([np.concatenate([one[name] for name in sorted(one) if part in name]) for one in sums])

    change(source, "expression.csv", loud)
    lgg(source, tmp_path / "after", fold=2)
    before, after = summed(tmp_path / "before", "rna"), summed(tmp_path / "after", "rna")
    assert len(before) and before.any()
    np.testing.assert_array_equal(before, after)


def test_the_tumour_does_not_choose_the_slices(source: Path, tmp_path: Path) -> None:
    """Nearest to fixed places along the head; a mask beside the pictures, or another brightness, is not looked at."""
    lgg(source, tmp_path / "out")
    one = next(row for row in table(source / "slices.csv"))["patient_id"]
    rows = [row for row in table(source / "slices.csv") if row["patient_id"] == one]
    nearest = sorted({int(np.abs(np.arange(12) / 11 - place).argmin()) for place in PLACES})
    found = [pydicom.dcmread(path).pixel_array for path in sorted((tmp_path / "out/du/mri" / one).glob("*.dcm"))]
    for pixels, number in zip(found, nearest, strict=True):
        np.testing.assert_array_equal(pixels, np.asarray(Image.open(source / rows[number]["image_file"])))


# ------------------------------------------------------------------------------------------------- patients and folds


@real
def test_hospitals_and_patients_are_the_labelled_ones(made: Path) -> None:
    rows = {path.parent.name.upper(): table(path) for path in made.rglob("outcome.csv")}
    assert {site: len(some) for site, some in rows.items()} == PATIENTS
    assert {site: sum(row["died_36m"] == "yes" for row in some) for site, some in rows.items()} == DEATHS


@real
def test_the_prepared_cohorts_hold_each_patient_once_and_mri_where_it_is(made: Path) -> None:
    study = read_study(made / "study.yaml")
    assert study.secure_sum.enabled and study.secure_sum.threshold == 4 and not study.private
    cohorts = {site: prepare(read_site(made / site.lower()), study) for site in PATIENTS}
    sizes = {site: len(one.train) + len(one.validation) + len(one.test) for site, one in cohorts.items()}
    assert sizes == PATIENTS
    assert {site for site, one in cohorts.items() if "mri" in one.owned} == set(PICTURED)
    places = [len(list((made / site.lower() / "mri").iterdir())) for site in PICTURED]
    column = study.names.index("mri")
    parts = [[one.train, one.validation, one.test] for one in cohorts.values()]
    assert sum(places) == sum(int(part.present[:, column].sum()) for some in parts for part in some)


@real
@pytest.mark.parametrize("seed", range(3))
def test_folds_are_even_over_hospitals_and_outcomes(tmp_path: Path, seed: int) -> None:
    from deploy.research.public_data import lgg as module

    _, found = module._patients(REAL)
    parts = module.folds([(one.hospital, one.died) for one in found], FOLDS, seed)
    assert set(Counter(parts).values()) == {23, 24}
    for stratum in {(one.hospital, one.died) for one in found}:
        inside = Counter(part for one, part in zip(found, parts, strict=True) if (one.hospital, one.died) == stratum)
        counts = [inside[part] for part in range(FOLDS)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("fold", range(FOLDS))
def test_a_fold_is_for_testing_and_the_next_for_validation(source: Path, tmp_path: Path, fold: int) -> None:
    folders = lgg(source, tmp_path / "out", fold=fold)
    study = read_study(tmp_path / "out" / "study.yaml")
    assert study.split.test_values == [str(fold)] and study.split.validation_values == [str((fold + 1) % FOLDS)]
    assert [folder.name for folder in folders] == ["cs", "du", "ht", "hw"]
    for folder in folders:
        count = Counter(row["fold"] for row in table(folder / "outcome.csv"))
        cohort = prepare(read_site(folder), study)
        assert (len(cohort.test), len(cohort.validation)) == (count[str(fold)], count[str((fold + 1) % FOLDS)])
        assert len(cohort.train) == sum(count.values()) - len(cohort.test) - len(cohort.validation)


def test_a_seed_draws_the_same_folds_again_and_another_seed_others(source: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        lgg(source, tmp_path / name, seed=seed)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    a, c = files(tmp_path / "a"), files(tmp_path / "c")
    assert {Path(name).name for name in a if a[name] != c[name]} == {"outcome.csv", "study.yaml"}
    assert read_study(tmp_path / "c" / "study.yaml").seed == 2


def test_who_left_before_36_months_is_left_out(source: Path, tmp_path: Path) -> None:
    lgg(source, tmp_path / "out")
    public = {row["patient_id"]: row for row in table(source / "patients.csv")}
    found = {
        row["patient_id"]: row["died_36m"] for path in (tmp_path / "out").rglob("outcome.csv") for row in table(path)
    }
    for patient, row in public.items():
        if row["site"] == "QH" or (float(row["os_months"]) <= 36 and row["os_event"] == "0"):
            assert patient not in found
        else:
            assert found[patient] == ("no" if float(row["os_months"]) > 36 else "yes")


def test_on_the_day_itself(source: Path, tmp_path: Path) -> None:
    """Death at 36 months is within them; leaving at 36 months is not knowing."""
    rows = table(source / "patients.csv")
    rows[0] |= {"os_months": "36.0", "os_event": "1"}
    rows[1] |= {"os_months": "36.0", "os_event": "0"}
    rows[2] |= {"os_months": "", "os_event": ""}
    write(source / "patients.csv", rows)
    lgg(source, tmp_path / "out")
    found = {row["patient_id"]: row["died_36m"] for row in table(tmp_path / "out" / "du" / "outcome.csv")}
    assert found[rows[0]["patient_id"]] == "yes"
    assert rows[1]["patient_id"] not in found and rows[2]["patient_id"] not in found


# ---------------------------------------------------------------------------------------------------- DICOM, bad input


def test_a_picture_says_that_it_is_wrapped_and_nothing_of_dates(source: Path, tmp_path: Path) -> None:
    lgg(source, tmp_path / "out")
    paths = sorted((tmp_path / "out" / "ht" / "mri").rglob("*.dcm"))
    assert paths and not (tmp_path / "out" / "hw" / "mri").exists()
    uids = set()
    for path in paths:
        image = pydicom.dcmread(path)
        assert image.Modality == "MR" and "Wrapped from an 8-bit PNG" in image.ImageComments
        assert (image.BitsAllocated, image.BitsStored, image.PhotometricInterpretation) == (8, 8, "MONOCHROME2")
        assert not [element for element in image if element.VR in ("DA", "DT", "TM") and element.value]
        assert image.PatientID == path.parent.name
        uids.add(image.SOPInstanceUID)
    assert len(uids) == len(paths)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG but no more")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as a picture") as caught:
        wrap(tmp_path / "a.png", tmp_path / "a.dcm", patient="p", series="s", number=1, modality="MR", what="x")
    assert caught.value.__cause__ is None and not (tmp_path / "a.dcm").exists()


FOREIGN: dict[str, tuple[str, Callable[[Row], Row], str]] = {
    "no survival": (
        "patients.csv",
        lambda row: {k: v for k, v in row.items() if k != "os_event"},
        "no column os_event",
    ),
    "no arm": ("patients.csv", lambda row: {k: v for k, v in row.items() if k != "cna_7p"}, "no column cna_7p"),
    "months in words": ("patients.csv", lambda row: row | {"os_months": f"{SECRET} m"}, "os_months is not a number"),
    "months that are none": ("patients.csv", lambda row: row | {"os_months": "nan"}, "os_months is not a number"),
    "event in words": (
        "patients.csv",
        lambda row: row | {"os_event": f"DECEASED {SECRET}"},
        "os_event is not a number",
    ),
    "a way out": ("patients.csv", lambda row: row | {"patient_id": f"../{SECRET}"}, "more than letters"),
    "a site that is a way": ("patients.csv", lambda row: row | {"site": f"/{SECRET}"}, "more than letters"),
    "one patient": ("patients.csv", lambda row: row | {"patient_id": "TCGA-3175"}, "several rows"),
    "place in words": ("slices.csv", lambda row: row | {"position": SECRET + "mm"}, "position is not a number"),
    "no picture": ("slices.csv", lambda row: row | {"image_file": "flair/gone.png"}, "cannot be read as a picture"),
    "no patient": ("expression.csv", lambda row: {"gene": row["patient_id"]}, "no column patient_id"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_table_is_refused_without_showing_a_cell(source: Path, tmp_path: Path, kind: str) -> None:
    name, edit, says = FOREIGN[kind]
    change(source, name, edit)
    with pytest.raises(DataError, match=says) as caught:
        lgg(source, tmp_path / "out")
    assert SECRET not in str(caught.value) and caught.value.__cause__ is None
    assert sorted(item.name for item in tmp_path.iterdir()) == ["public"]


@pytest.mark.parametrize("name", ["patients.csv", "expression.csv", "slices.csv"])
def test_a_missing_table_is_named(source: Path, tmp_path: Path, name: str) -> None:
    (source / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: cannot be read"):
        lgg(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fold", [-1, FOLDS])
def test_a_fold_that_is_none_is_refused(source: Path, tmp_path: Path, fold: int) -> None:
    with pytest.raises(StudyError, match="folds 0 to 4"):
        lgg(source, tmp_path / "out", fold=fold)


def test_the_command_makes_them_and_says_what_is_wrong(source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "deploy.cli", "example", "lgg", "--from", str(source), "--out", "made"]
    root = str(Path(__file__).resolve().parents[4])
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "made" / "study.yaml").exists(), done.stderr
    (source / "slices.csv").unlink()
    command[-1] = "other"
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False)
    assert done.returncode == DataError.exit_code and "slices.csv" in done.stderr and "Traceback" not in done.stderr
