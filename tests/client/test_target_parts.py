"""A target of two columns: what a hospital reads of it, and that sums of two studies, or of one under a changed site
file, show no patient of whom one part is not known. Through a real site's handler; without privacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from client.consent.description import describe
from client.data.cohort import Cohort
from client.data.labels import patients_of
from client.data.prepare import prepare
from client.exact_sums.cut import cut_of
from client.exact_sums.cuts import allow, asked_about, opening
from client.site import SiteFolder, read_site
from common.errors import AnsweredError, DataError, SiteFileError
from common.statistics import patient_sensitivity, statistic_segments
from common.study import Study
from tests.architecture.pair_task import NAMES as PARTS
from tests.architecture.pair_task import Pair
from tests.architecture.twofold_task import Twofold
from tests.client.test_no_part import HASH
from tests.client.test_shown_by_differences import SCORES, STATISTICS, hospitals, in_study
from tests.support.hospital import study_of, write_csv
from tests.support.scripted import ME, NAMES, refused

PATIENT, PATIENTS = "P06", 20
LABS = {"kind": "record", "numeric": {"x": {"low": 0, "high": 100, "mean": 50, "sd": 30}}}
Row = dict[str, Any]
HALVES = {"column": "half", "validation_values": ["v"]}  # of which PATIENT validates


def study(name: str = "first", split: Row = HASH) -> Study:
    made = study_of({"study": name, "split": split, "modalities": {"labs": LABS}, "training": {"batch_size": 16}})
    return replace(made, task=Pair(kind="pair", high=10.0))


def ward(root: Path, gaps: Mapping[str, str] | None = None, second: str = "b", **more: str) -> SiteFolder:
    """Twenty patients who train. gaps: column in which PATIENT has this word; second: the column of the second part."""
    rows = [
        {"patient_id": f"P{number:02}", "x": f"{5 * number}", "a": f"{number % 9}", "b": f"{number % 7}"}
        | {"c": f"{number % 7}", "s": "tv"[number % 2 == 0]}
        | (dict(gaps or {}) if f"P{number:02}" == PATIENT else {})
        for number in range(PATIENTS)
    ]
    write_csv(root / "table.csv", rows)
    columns = {part: {"file": "table.csv", "column": column} for part, column in zip(PARTS, ("a", second), strict=True)}
    words = {"site": "east", "target": {"columns": columns}, "records": {"labs": {"file": "table.csv"}}}
    words["split"] = {"file": "table.csv", "column": "s"}
    content = words | {"policy": {"require_privacy": False}} | more
    (root / "site.yaml").write_text(yaml.safe_dump(content))
    return read_site(root)


def cohorts(root: Path, study: Study, gaps: Row | None = None, second: str = "b") -> dict[str, Cohort]:
    """Of four hospitals, each prepared from its files; ME has the gaps."""
    return {
        name: prepare(ward(_made(root / f"ward {name}"), gaps if name == ME else None, second), study) for name in NAMES
    }


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    return folder


# ------------------------------------------------------------------------------------------------ what a hospital reads


def test_a_patient_of_whom_one_part_is_known_has_a_target(tmp_path) -> None:
    cohort = prepare(ward(tmp_path, {"b": "?"}), study())
    assert cohort.train.target.shape == (PATIENTS, 2) and np.isnan(cohort.train.target.numpy()).sum() == 1
    assert sorted(map(len, cohort.told.values())) == [1] + [2] * (PATIENTS - 1)
    assert cohort.counts["target.columns.second: patients without a value"] == 1
    neither = prepare(ward(tmp_path, {"a": "?", "b": "?"}), study())
    assert len(neither.train) == PATIENTS - 1 and len(neither.out) == 1
    assert neither.counts["target: patients with too little of it"] == 1


def test_a_changed_value_of_any_part_makes_another_cohort(tmp_path) -> None:
    """By the version each exact answer is kept: whose second number is another one is another patient for a sum."""
    versions = {prepare(ward(tmp_path, gaps), study()).version for gaps in ({}, {"a": "9"}, {"b": "9"}, {"b": "?"})}
    assert len(versions) == 4


def test_a_word_that_is_no_value_of_its_part_is_named_by_its_place(tmp_path) -> None:
    with pytest.raises(DataError, match=r"column 'b': 1 of 20 .* target.columns.second.values") as told:
        prepare(ward(tmp_path, {"b": "unclear"}), study())
    assert "unclear" not in str(told.value)


def test_a_site_file_without_a_part_says_which(tmp_path) -> None:
    folder = ward(tmp_path)
    del folder.file.target.columns["second"]
    with pytest.raises(SiteFileError, match=r"missing target\.columns\.second"):
        prepare(folder, study())
    one = study_of({"split": HASH, "modalities": {"labs": LABS}})
    with pytest.raises(SiteFileError, match=r"missing target\.file and target\.column\. The study learns"):
        prepare(folder, one)
    twofold = replace(one, task=Twofold(kind="twofold", tasks={"back": one.task, "dead": one.task}))
    with pytest.raises(SiteFileError, match=r"missing target\.columns\.back, target\.columns\.dead"):
        prepare(folder, twofold)


@pytest.mark.parametrize(("words", "said"), [
    ({"file": "t.csv"}, "missing column"),
    ({"values": {"a": "b"}}, "missing file and column"),
    ({"columns": {"a": {"file": "t.csv", "column": "c"}}, "patient": "nr"}, "of a part they stand with the part"),
])  # fmt: skip
def test_a_target_that_is_neither_a_column_nor_parts_is_refused(tmp_path, words, said) -> None:
    ward(tmp_path)
    content = yaml.safe_load((tmp_path / "site.yaml").read_text()) | {"target": words}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SiteFileError, match=said):
        read_site(tmp_path)


def test_a_person_reads_where_each_part_is_and_who_opts_out_is_sought_in_both(tmp_path) -> None:
    folder = ward(tmp_path)
    write_csv(tmp_path / "more.csv", [{"patient_id": one, "b": "3"} for one in ("P07", "P99")])
    write_csv(tmp_path / "list.csv", [{"patient_id": "P99"}, {"patient_id": "P07"}])
    content = yaml.safe_load((tmp_path / "site.yaml").read_text()) | {"exclusions": "list.csv"}
    content["target"]["columns"]["second"]["file"] = "more.csv"
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    folder = read_site(tmp_path)
    assert "    second: column 'b' of more.csv" in describe(folder, study())
    assert len(patients_of(folder, study())) == PATIENTS + 1
    cohort = prepare(folder, study())
    assert len(cohort.train) == PATIENTS - 1 and cohort.opt_outs.startswith("2 listed, 2 found here")


def test_one_patient_is_counted_once_for_each_part(tmp_path) -> None:
    """What privacy's noise of the statistics is made for: two groups of one patient, and not one."""
    both, one = study(), study_of({"split": HASH, "modalities": {"labs": LABS}})
    assert patient_sensitivity(both) ** 2 == pytest.approx(patient_sensitivity(one) ** 2 + 1)
    assert {segment.name: segment.length for segment in statistic_segments(both)}["classes"] == 2


# ---------------------------------------------------------------------------------------------------- what sums show


@pytest.mark.parametrize("gap", [False, True], ids=["the same patients", "a gap in the other column"])
@pytest.mark.parametrize(("asked", "split"), [(STATISTICS, HASH), (SCORES, HALVES)], ids=["statistics", "scores"])
def test_two_studies_that_differ_by_one_part_of_one_patient_are_not_both_answered(tmp_path, asked, split, gap) -> None:
    """All have the first number, so both studies have the same cohort. The second one's second number is another column
    of the site, in which one patient has a gap: the difference of the sums over who has a second number is hers alone.
    """
    first, second = study(split=split), study("second", split)
    them = hospitals(tmp_path, first, cohorts(tmp_path, first))
    before = them.summed(1, **asked)
    now = cohorts(tmp_path, second, {"c": "?"} if gap else None, second="c")
    them = in_study(them, second, now)
    sum = them.offered(2, run="f" * 16, study=second.digest, **asked)
    if gap:
        assert refused(them, ME, them.round_request(sum)) == "answered"
        return
    after = them.opened(sum)
    for name in {"classes", "scores/known"} & after.keys():
        assert before[name].tolist() == after[name].tolist() == [4 * PATIENTS * (0.5 if split == HALVES else 1)] * 2


@pytest.mark.parametrize("turned", [False, True], ids=["gap later", "gap first"])
def test_a_person_is_asked_about_a_part_and_by_one_it_is_refused_all_the_same(tmp_path, turned) -> None:
    columns = ("b", "c")[:: -1 if turned else 1]
    first, second, run = study(), study("second"), tmp_path / "run"
    cuts = [cut_of(prepare(ward(tmp_path, {"c": "?"}, column), one), ["labs"])
            for one, column in zip((first, second), columns, strict=True)]  # fmt: skip
    opening(run, first.digest, cuts[0], 10)
    assert asked_about(run, second.digest, cuts[1]) == 1
    allow(run, second.digest, cuts[1])
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(run, second.digest, cuts[1], 10)


def test_the_same_study_is_not_opened_again_by_another_column_of_a_part(tmp_path) -> None:
    run = tmp_path / "run"
    for column in ("b", "c"):
        cut = cut_of(prepare(ward(tmp_path, {"c": "?"}, column), study()), ["labs"])
        if column == "b":
            opening(run, study().digest, cut, 10)
            continue
        with pytest.raises(AnsweredError, match="another column"):
            opening(run, study().digest, cut, 10)


def test_a_part_that_comes_with_the_data_is_no_difference_of_studies(tmp_path) -> None:
    """A gap that the hospital filled, in a column that both studies read."""
    run, later = tmp_path / "run", replace(study(), rounds=7)
    opening(run, study().digest, cut_of(prepare(ward(tmp_path, {"b": "?"}), study()), ["labs"]), 10)
    for one in (study(), later):
        opening(run, one.digest, cut_of(prepare(ward(tmp_path), one), ["labs"]), 10)


@pytest.mark.parametrize("having", [9, 10])
def test_a_part_that_fewer_than_the_smallest_group_have_is_in_no_sum(tmp_path, having) -> None:
    """The other sites have no second number at all: the sum would be these patients' alone."""
    one = study()
    made = cohorts(tmp_path, one)
    for name, cohort in made.items():
        target = cohort.train.target.clone()
        target[having if name == ME else 0 :, 1] = float("nan")
        made[name] = replace(cohort, train=replace(cohort.train, target=target))
    sums = hospitals(tmp_path, one, made).summed(1, **STATISTICS)
    assert sums["classes"].tolist() == [4 * PATIENTS, having if having >= 10 else 0]
