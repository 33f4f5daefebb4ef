"""What a hospital changes in its site file between two sums, because a study's error or a new table asks for it, shows
no single patient. Without privacy.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.recipe import Rules
from client.data.sides import split_of
from client.exact_sums.cut import Cut, cut_of
from client.exact_sums.cuts import allow, asked_about, opening
from client.site import SiteFolder, read_site
from common.errors import AnsweredError, DataError
from common.study import Study
from tests.client.test_no_part import GENES, HASH, LABS, cut, of, pointed, ward, without
from tests.support.cuts import everyone
from tests.support.hospital import STUDY, study_of

SEX = ("W", "M")


def of_words(*words: str) -> Study:
    labs = STUDY["modalities"]["labs"] | {"categorical": {"sex": list(words)}}
    return study_of({"split": HASH, "modalities": {"labs": labs}})


def edited(root: Path, **changes: Any) -> SiteFolder:
    file = yaml.safe_load((root / "site.yaml").read_text())
    (root / "site.yaml").write_text(yaml.safe_dump(file | changes))
    return read_site(root)


@pytest.mark.parametrize(("words", "answered"), [(SEX[::-1], True), ((*SEX, "X"), False)])
def test_a_study_with_one_word_more_does_not_show_the_patient_who_has_it(tmp_path, words, answered) -> None:
    """The first was refused until the word was listed as a gap, and then left out whom the second one took."""
    first, second = of_words(*SEX), of_words(*words)
    folder = ward(tmp_path, lambda row: row | dict.fromkeys(LABS, "") | {"sex": "X"})
    records = {"labs": {"file": "records.csv", "columns": {"crp": "CRP (mg/l)"}}}
    folder = edited(tmp_path, records=records)
    with pytest.raises(DataError, match="missing"):
        prepare(folder, first)
    folder = edited(tmp_path, records={"labs": records["labs"] | {"missing": ["X"]}})
    assert len(cut(folder, first).sides) == 19
    opening(tmp_path / "run", first.digest, cut(folder, first), 10)
    if not answered:
        folder = edited(tmp_path, records=records)
        assert len(cut(folder, second).sides) == 20 and asked_about(
            tmp_path / "run", second.digest, cut(folder, second)
        )
    else:  # the word was a mistake: this patient comes with the data
        ward(tmp_path)
        folder = edited(tmp_path, records=records)
    assert len(cut(folder, second).sides) == 20
    with nullcontext() if answered else pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path / "run", second.digest, cut(folder, second), 10)


@pytest.mark.parametrize("genes_alone", [False, True])
@pytest.mark.parametrize("key", ["policy", "site.yaml"])
def test_a_modality_that_a_site_reads_newly_brings_few_into_no_sum(tmp_path, key, genes_alone) -> None:
    """The one who has nothing else came into the study's sums; who has labs too was there before."""
    ward(tmp_path, without(*(LABS if genes_alone else GENES["genes"])))
    study, file = of(HASH, "labs", "genes"), yaml.safe_load((tmp_path / "site.yaml").read_text())
    less = {"policy": file["policy"] | {"modalities": ["labs"]}} if key == "policy" else {"sequences": {}}
    narrow = replace(cut(edited(tmp_path, **less), study), used=frozenset({"labs"}))
    opening(tmp_path / "run", study.digest, narrow, 10)
    wide = cut(edited(tmp_path, **file), study)
    assert len(wide.sides) == 20 and len(narrow.sides) == 20 - genes_alone
    with pytest.raises(AnsweredError, match="these 1 patients") if genes_alone else nullcontext():
        opening(tmp_path / "run", study.digest, wide, 10)
    opening(tmp_path / "run", study.digest, narrow, 10)


def test_who_comes_with_a_table_that_was_read_before_is_a_new_patient(tmp_path) -> None:
    """The genes came with the data: nobody chose by them who is in the sums."""
    study = of(HASH, "labs", "genes")
    folder = ward(tmp_path, without(*LABS, *GENES["genes"]))
    opening(tmp_path / "run", study.digest, cut(folder, study), 10)
    wide = cut(ward(tmp_path, without(*LABS)), study)
    assert len(wide.sides) == 20
    opening(tmp_path / "run", study.digest, wide, 10)


@pytest.mark.parametrize(("key", "one", "other"), [("split", "year", "region"), ("target", "outcome", "second")])
def test_a_study_is_not_opened_again_by_another_column_that_takes_one_patient_more(tmp_path, key, one, other) -> None:
    """What a second study was refused, the first one was answered once site.yaml named the second one's column; and
    then the second was answered too, for by that sum the first had taken this patient.
    """
    split = {"column": "a", "test_values": ["x"]} if key == "split" else HASH
    first = study_of({"split": split, "modalities": {"labs": STUDY["modalities"]["labs"]}})
    second, run = replace(first, rounds=9), tmp_path / "run"

    def by(column: str, study: Study, *, gap: bool = True) -> Cut:
        """As an agent reads it: patients keep their sides."""
        folder = pointed(ward(tmp_path, without(one) if gap else lambda row: row), key, column)
        cohort = prepare(folder, study, state=run)
        split_of(run, study, cohort.sides, site_secret(folder.path(folder.file.state)))
        return cut_of(cohort, study.names)

    opening(run, first.digest, by(one, first), 10)
    assert len(by(one, first).sides) == 19 and len(by(other, first).sides) == 20
    for study, words in ((first, "another column"), (second, "by 1 patients")):
        with pytest.raises(AnsweredError, match=words):
            opening(run, study.digest, by(other, study), 10)
    opening(run, first.digest, by(one, first, gap=False), 10)  # who came with the data, into the first one's sums too
    for study in (first, second):
        assert asked_about(run, study.digest, by(other, study), 10) == 0
        opening(run, study.digest, by(other, study), 10)


def test_classes_in_another_order_take_the_same_patients(tmp_path) -> None:
    """The hospital was refused for a gap that it had filled."""
    first = of(HASH, "labs")
    turned = STUDY["task"] | {"classes": STUDY["task"]["classes"][::-1]}
    second = study_of({"split": HASH, "modalities": {"labs": STUDY["modalities"]["labs"]}, "task": turned})
    opening(tmp_path / "run", first.digest, cut(ward(tmp_path, without(*LABS)), first), 10)
    opening(tmp_path / "run", second.digest, cut(ward(tmp_path), second), 10)


@pytest.mark.parametrize("now", ["fewer", "others", "elsewhere", "out"])
def test_a_word_is_for_the_patients_of_whom_it_was_given(tmp_path, now) -> None:
    """The split column was corrected after it, and ten of whom nobody was told moved in the place of thirty, or ten of
    the thirty moved to another part, or into none.
    """
    first = replace(everyone({str(one): "train" for one in range(60)}), rules=Rules("target", "", {"chart": "a"}))
    opening(tmp_path, "a" * 64, first, 10)
    told = everyone({str(one): "test" if one < 30 else "train" for one in range(60)})
    told = replace(told, rules=Rules("target", "column", {"chart": "a"}))
    assert asked_about(tmp_path, "b" * 64, told, 10) == 30
    allow(tmp_path, "b" * 64, told)
    moved = range(50, 60) if now == "others" else range(20)
    parts = {str(one): "test" if one in moved else "train" for one in range(60)}
    if now == "elsewhere":
        parts |= dict.fromkeys(map(str, range(10)), "validation")
    found = replace(everyone(parts), rules=Rules("target", "column", {"chart": "a"}))
    if now == "out":
        gone = frozenset(map(str, range(10)))
        left = {one: part for one, part in parts.items() if one not in gone}
        found = replace(found, parts=left, having={one: found.having[one] for one in left}, out=gone)
    with nullcontext() if now == "fewer" else pytest.raises(AnsweredError, match="by as few as 10 patients"):
        opening(tmp_path, "b" * 64, found, 10)


@pytest.mark.parametrize("key", ["split", "target"])
def test_a_gap_that_is_filled_after_another_column_was_read_comes_with_the_data(tmp_path, key) -> None:
    """Site.yaml named the other column for a while, or the export renamed it: each later gap was refused for ever."""
    one, other = {"split": ("year", "region"), "target": ("outcome", "second")}[key]
    split = {"column": "a", "test_values": ["x"]} if key == "split" else HASH
    study = study_of({"split": split, "modalities": {"labs": STUDY["modalities"]["labs"]}})
    for edit, column in ((without(*LABS), one), (without(*LABS), other), (without(*LABS), one), (lambda row: row, one)):
        now = cut(pointed(ward(tmp_path, edit), key, column), study)
        opening(tmp_path / "run", study.digest, now, 10)
    assert len(now.sides) == 20
    opening(tmp_path / "run", study.digest, cut(pointed(ward(tmp_path, without(*LABS)), key, one), study), 10)


def test_who_comes_with_a_table_after_it_was_read_newly_is_a_new_patient(tmp_path) -> None:
    ward(tmp_path, without(*LABS, *GENES["genes"]))
    study, file = of(HASH, "labs", "genes"), yaml.safe_load((tmp_path / "site.yaml").read_text())
    narrow = replace(cut(edited(tmp_path, sequences={}), study), used=frozenset({"labs"}))
    opening(tmp_path / "run", study.digest, narrow, 10)
    opening(tmp_path / "run", study.digest, cut(edited(tmp_path, **file), study), 10)
    wide = cut(ward(tmp_path, without(*LABS)), study)
    assert len(wide.sides) == 20
    opening(tmp_path / "run", study.digest, wide, 10)


@pytest.mark.parametrize("turned", [False, True], ids=["come", "leave"])
@pytest.mark.parametrize(("genes", "answered"), [(1, False), (0, True), (10, True)])
def test_ten_who_come_by_another_column_show_no_fewer_of_a_modality(tmp_path, genes, answered, turned) -> None:
    def by(target: str, number: int) -> Cut:
        having = {str(one): frozenset({"labs", "genes"} if one < 30 + genes else {"labs"}) for one in range(40)}
        there = {patient: having[patient] for patient in map(str, range(number))}
        out = frozenset(having.keys() - there.keys())
        rules = Rules(target, "", {"labs": "a", "genes": "b"})
        return Cut(dict.fromkeys(there, "train"), there, frozenset({"labs", "genes"}), out=out, rules=rules)

    first, second = (by("one", 30), by("other", 40))[:: -1 if turned else 1]
    opening(tmp_path, "a", first, 10)
    with nullcontext() if answered else pytest.raises(AnsweredError, match="another column"):
        opening(tmp_path, "a", second, 10)
