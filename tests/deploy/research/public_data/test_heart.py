"""UCI heart disease as hospitals: the patients and the split that the published figures rest on, and foreign files."""

from __future__ import annotations

import csv
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from client.data.prepare import prepare
from client.data.statistics import statistic_sums
from client.site import read_site
from common.errors import DataError, RunError
from common.models.network import build_network, set_normaliser
from common.statistics import normaliser_from_sums
from common.study import Study, read_study
from deploy.research.public_data.heart import COLUMNS, PATIENTS, heart
from deploy.research.public_data.split import train_test

REAL = Path(__file__).resolve().parents[4].parent / "shared" / "data" / "heart"
SPLIT = {"cleveland": (199, 104), "hungarian": (172, 89), "switzerland": (30, 16), "va": (85, 45)}
SECRET = "31.75"  # a cell that no message may repeat
real = pytest.mark.skipif(not REAL.is_dir(), reason="UCI's four files are not at ../shared/data/heart")


def text(patients: int, cell: Callable[[int, str], str] = lambda row, name: "1") -> str:
    """A file as UCI's are: cells of 1, `patients` rows; the target alternates, so that a split has both classes."""
    lines = [[cell(row, name) if name != "num" else str(row % 2) for name in COLUMNS] for row in range(patients)]
    return "".join(",".join(line) + "\n" for line in lines)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four made-up files that look like UCI's."""
    folder = tmp_path / "uci"
    folder.mkdir()
    for site, patients in PATIENTS.items():
        (folder / f"processed.{site}.data").write_text(text(patients))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heart") / "hospitals"
    heart(REAL, out)
    return out


@pytest.fixture(scope="module")
def study(made: Path) -> Study:
    return read_study(made / "study.yaml")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "records.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------------------------------------- the real files


@real
def test_the_cohorts_have_the_published_sizes(made: Path, study: Study) -> None:
    found = {site: prepare(read_site(made / site), study) for site in SPLIT}
    assert {site: (len(item.train), len(item.test)) for site, item in found.items()} == SPLIT
    assert sum(len(item.train) for item in found.values()) == 486 and all(not len(i.validation) for i in found.values())
    assert sum(len(item.test) for item in found.values()) == 254


@real
@pytest.mark.parametrize("site", SPLIT)
def test_the_split_is_that_of_scikit_learn(made: Path, site: str) -> None:
    rows = table(made / site)
    labels = [int(row["num"]) > 0 for row in rows]
    _, test = train_test_split(
        range(len(rows)), train_size=0.66, test_size=0.34, random_state=43, shuffle=True,
        stratify=None if site == "switzerland" else labels,
    )  # fmt: skip
    assert {place for place, row in enumerate(rows) if row["split"] == "test"} == set(test)


@real
def test_the_tensors_are_the_raw_files(made: Path, study: Study) -> None:
    """Read by another route: numpy and the columns' places, one-hot by hand, all as one set of rows with its label."""
    for site in SPLIT:
        lines = (REAL / f"processed.{site}.data").read_text().split()
        cells = [[cell for place, cell in enumerate(line.split(",")) if place not in (10, 11, 12)] for line in lines]
        raw = np.array([row for row in cells if "?" not in row], dtype=float)
        marks = [raw[:, 1], *(raw[:, 2] == n for n in (2, 3, 4)), raw[:, 5], *(raw[:, 6] == n for n in (1, 2))]
        expected = np.column_stack([raw[:, [0, 3, 4, 7, 9]], *marks, raw[:, 8], raw[:, 10] > 0])
        cohort = prepare(read_site(made / site), study)
        parts = [torch.cat([b.inputs["record"][:, :13], b.target[:, None]], 1) for b in (cohort.train, cohort.test)]
        found = torch.cat(parts).numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(sorted(map(tuple, found)), sorted(map(tuple, expected)), atol=1e-5)


@real
def test_the_model_is_logistic_regression_on_training_statistics(made: Path, study: Study) -> None:
    cohorts = [prepare(read_site(made / site), study) for site in SPLIT]
    sums = [statistic_sums(study, cohort) for cohort in cohorts]
    normaliser = normaliser_from_sums(study, {name: sum(item[name] for item in sums) for name in sums[0]})
    numbers = torch.cat([cohort.train.inputs["record"][:, :5] for cohort in cohorts]).double().numpy()
    np.testing.assert_allclose(normaliser["record"][0], numbers.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(normaliser["record"][1], numbers.std(axis=0, ddof=1), rtol=1e-6)

    network = build_network(study)
    set_normaliser(network, normaliser)
    assert sorted(part.numel() for part in network.parameters()) == [1, 13]
    assert not any(part.any() for part in network.parameters())
    for part in network.parameters():
        torch.nn.init.normal_(part)
    rows = cohorts[0].test
    x, (weight, bias) = rows.inputs["record"][:, :13].double(), (p.double().flatten() for p in network.parameters())
    x[:, :5] = (x[:, :5] - torch.from_numpy(numbers.mean(axis=0))) / torch.from_numpy(numbers.std(axis=0, ddof=1))
    with torch.no_grad():
        found = network(rows.inputs, rows.present).flatten().double()
        torch.testing.assert_close(found, x @ weight + bias, rtol=1e-4, atol=1e-4)


@real
def test_nothing_is_chosen_on_test_patients_and_the_sum_is_on(study: Study) -> None:
    assert not study.split.validates and study.split.test_values == ["test"]
    assert study.secure_sum.enabled and study.secure_sum.threshold == 3
    assert {name: item.normalise for name, item in study.modalities.items()} == {"record": "secure_sum"}


@real
def test_a_file_of_another_centre_is_refused(tmp_path: Path) -> None:
    source = Path(shutil.copytree(REAL, tmp_path / "uci", copy_function=shutil.copyfile))
    source.chmod(0o755)
    shutil.copyfile(source / "processed.cleveland.data", source / "processed.va.data")
    with pytest.raises(DataError, match=r"processed\.va\.data: is not UCI's file.*200 rows.*has 303"):
        heart(source, tmp_path / "out")


# ------------------------------------------------------------------------------------------------------ without data


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=12, max_size=150), st.integers(0, 2**32 - 1))
def test_any_labels_are_split_as_scikit_learn_does(labels: list[int], seed: int) -> None:
    counts = np.unique(labels, return_counts=True)[1]
    stratify = len(counts) > 1 and counts.min() > 2
    found = train_test(labels, train=0.66, test=0.34, state=seed, stratify=stratify)
    expected = train_test_split(
        range(len(labels)), train_size=0.66, test_size=0.34, random_state=seed, stratify=labels if stratify else None
    )
    assert list(found) == expected


def test_patients_with_a_gap_are_left_out_and_keep_their_number(source: Path, tmp_path: Path) -> None:
    gaps = {(0, "chol"), (7, "age"), (9, "ca"), (9, "slope"), (9, "thal")}
    (source / "processed.va.data").write_text(text(200, lambda row, name: "?" if (row, name) in gaps else "1.0"))
    heart(source, tmp_path / "out")
    rows = table(tmp_path / "out" / "va")
    assert [row["patient_id"] for row in rows[:3]] == ["va-002", "va-003", "va-004"]
    assert len(rows) == 198 and sum(row["split"] == "test" for row in rows) == math.ceil(0.34 * 198)


@pytest.mark.parametrize("number", range(4))
def test_a_missing_file_is_named_with_the_place_to_get_it(source: Path, tmp_path: Path, number: int) -> None:
    gone = source / f"processed.{list(PATIENTS)[number]}.data"
    gone.unlink()
    with pytest.raises(DataError, match=rf"{re.escape(str(gone))}: cannot be read.*archive\.ics\.uci\.edu"):
        heart(source, tmp_path / "out")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["uci"]


FOREIGN = {
    "a header": (lambda t: ",".join(COLUMNS) + "\n" + t, "has 201 rows"),
    "a row short": (lambda t: t.split("\n", 1)[1], "has 199 rows"),
    "a cell short": (lambda t: t.replace(",1,0\n", ",0\n", 1), "14 cells"),
    "empty": (lambda t: "", "has 0 rows"),
    "other separators": (lambda t: t.replace(",", ";"), "14 cells"),
    "no code": (lambda t: t.replace("1,1,1,", f"1,{SECRET},1,", 1), r"in sex \(1 of 200"),
    "no number": (lambda t: t.replace("1,", f"{SECRET}!,", 1), r"in age \(1 of 200"),
    "not finite": (lambda t: t.replace("1,", "nan,", 1), r"in age \(1 of 200"),
    "an impossible age": (lambda t: t.replace("1,", f"{SECRET}e3,", 1), r"in age \(1 of 200"),
    "a target that is none": (lambda t: t.replace(",0\n", ",5\n", 1), r"in num \(1 of 200"),
    "not text": (lambda t: t + "\xff", "not plain text"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_without_showing_a_cell(source: Path, tmp_path: Path, kind: str) -> None:
    change, says = FOREIGN[kind]
    path = source / "processed.va.data"
    path.write_text(change(path.read_text()), encoding="latin-1")
    with pytest.raises(DataError, match=says) as caught:
        heart(source, tmp_path / "out")
    assert str(path) in str(caught.value) and SECRET not in str(caught.value)
    assert caught.value.__cause__ is None and not (tmp_path / "out").exists()


def test_a_folder_that_is_in_use_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(RunError, match="not an empty folder"):
        heart(source, tmp_path / "out")
    assert [item.name for item in (tmp_path / "out").iterdir()] == ["mine"]
