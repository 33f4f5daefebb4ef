"""Two studies of which one takes a patient whom the other takes into no part: their sums may not show the few of whom
that is so. Without privacy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from client.data.cohort import Cohort
from client.data.prepare import prepare
from client.data.recipe import Rules, rules_of
from client.data.split import PARTS
from client.exact_sums.cut import Cut, cut_of
from client.exact_sums.cuts import allow, asked_about, opening, require_alike
from client.site import SiteFolder, read_site
from common.errors import AnsweredError
from common.models.batch import Batch
from common.study import Split, Study
from tests.client.data.test_opt_outs import NUMBERS, write_list
from tests.client.test_shown_by_differences import (
    CHARTS,
    STATISTICS,
    cohort_of,
    hospitals,
    in_study,
    with_one_panel_alone,
)
from tests.support import tiny
from tests.support.cuts import everyone
from tests.support.hospital import STUDY, study_of, write_csv, write_site
from tests.support.scripted import ME, NAMES, PLAIN, normalised_study, plain_study, refused

HASH = {"validation": 0.0, "test": 0.0}
COLUMN = {"column": "year", "test_values": ["nobody's word"]}
FEW = {"crp": {"low": 0, "high": 300}}
Row = dict[str, Any]


def ward(root: Path, edit: Callable[[Row], Row] = lambda row: row) -> SiteFolder:
    """Twenty patients; 10007 is what a test makes of this one."""
    rows: list[Row] = [
        {"patient_id": one, "outcome": ["alive", "dead"][number % 2], "CRP (mg/l)": 3, "pulse": 80}
        | {"sex": "W", "year": "2020", "region": "north", "second": ["dead", "alive"][number % 2]}
        | {"TP53": 1, "EGFR": 1, "PTEN": 1}
        for number, one in enumerate(NUMBERS)
    ]
    write_csv(root / "records.csv", [edit(row) if row["patient_id"] == "10007" else row for row in rows])
    write_list(root)
    split, genes = {"file": "records.csv", "column": "year"}, {"genes": {"file": "records.csv"}}
    return write_site(
        root, {"images": None, "notes": None, "sequences": genes, "split": split, "exclusions": "list.csv"}
    )


def without(*columns: str) -> Callable[[Row], Row]:
    return lambda row: row | dict.fromkeys(columns, "")


def of(split: Row, *modalities: str, columns: Row | None = None) -> Study:
    """Everybody trains, however the study says so."""
    labs = STUDY["modalities"]["labs"] | ({"numeric": columns, "categorical": {}} if columns else {})
    named = {"labs": labs, "genes": STUDY["modalities"]["genes"]}
    return study_of({"split": split, "modalities": {name: named[name] for name in modalities}})


def cut(folder: SiteFolder, study: Study) -> Cut:
    return cut_of(prepare(folder, study), study.names)


LABS = ("CRP (mg/l)", "pulse", "sex")
DIFFERENT = [
    (without("year"), of(HASH, "labs"), of(COLUMN, "labs")),
    (without(*LABS), of(HASH, "labs", "genes"), of(HASH, "labs")),
    (without("CRP (mg/l)"), of(HASH, "labs"), of(HASH, "labs", columns=FEW)),
]


@pytest.mark.parametrize(("edit", "one", "other"), DIFFERENT, ids=["a gap in the split column", "modality", "columns"])
@pytest.mark.parametrize("turned", [False, True], ids=["left out later", "left out first"])
def test_a_study_that_leaves_one_patient_out_is_not_answered_beside_one_that_does_not(
    tmp_path, edit, one, other, turned
) -> None:
    folder = ward(tmp_path, edit)
    first, second = (other, one) if turned else (one, other)
    assert {len(prepare(folder, study).train) for study in (first, second)} == {19, 20}
    opening(tmp_path / "run", first.digest, cut(folder, first), 10)
    assert asked_about(tmp_path / "run", second.digest, cut(folder, second)) == 1
    allow(tmp_path / "run", second.digest, cut(folder, second))
    with pytest.raises(AnsweredError, match="would show these apart"):
        require_alike(tmp_path / "run", second.digest, cut(folder, second), 10)
    require_alike(tmp_path / "run", first.digest, cut(folder, first), 10)
    ward(tmp_path)  # nobody has a gap
    for study in (first, second):
        require_alike(tmp_path / "another", study.digest, cut(folder, study), 10)


@pytest.mark.parametrize(("edit", "one", "other"), DIFFERENT, ids=["a gap in the split column", "modality", "columns"])
def test_who_comes_or_goes_with_the_data_is_no_difference_of_studies(tmp_path, edit, one, other) -> None:
    """A gap that was filled, a table that came: one more patient, as a new one is. Both studies leave out the same."""
    later = replace(other, rounds=7)
    folder = ward(tmp_path, edit)
    opening(tmp_path / "run", other.digest, cut(folder, other), 10)
    ward(tmp_path)
    assert len(prepare(folder, other).train) == 20
    for study in (other, later):
        opening(tmp_path / "run", study.digest, cut(folder, study), 10)
    ward(tmp_path, edit)
    for study in (later, other):
        opening(tmp_path / "run", study.digest, cut(folder, study), 10)


def pointed(folder: SiteFolder, key: str, column: str) -> SiteFolder:
    """The site file with another column under `split` or `target`, of which it has one each."""
    path = folder.root / "site.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {key: {"file": "records.csv", "column": column}}))
    return read_site(folder.root)


@pytest.mark.parametrize(("key", "one", "other"), [("split", "year", "region"), ("target", "outcome", "second")])
@pytest.mark.parametrize("turned", [False, True], ids=["gap later", "gap first"])
def test_two_studies_of_two_columns_do_not_show_who_has_a_gap_in_one(tmp_path, key, one, other, turned) -> None:
    """Two splits, or two targets: the hospital points site.yaml at its other column, as the second study asks."""
    splits = {"split": {"column": "a", "test_values": ["x"]}}, {"split": {"column": "b", "test_values": ["x"]}}
    first, second = splits if key == "split" else ({"split": HASH}, {"split": HASH, "study": "second"})
    both = [(study_of(more | {"modalities": {"labs": STUDY["modalities"]["labs"]}}), column)
            for more, column in ((first, one), (second, other))][:: -1 if turned else 1]  # fmt: skip
    for gap in (True, False):
        folder = ward(tmp_path, lambda row, gap=gap: row | ({other: ""} if gap else {}))
        (study, column), (later, changed) = both
        opening(tmp_path / str(gap), study.digest, cut(pointed(folder, key, column), study), 10)
        here = cut(pointed(folder, key, changed), later)
        assert asked_about(tmp_path / str(gap), later.digest, here) == gap
        allow(tmp_path / str(gap), later.digest, here)
        with pytest.raises(AnsweredError, match="by 1 patients") if gap else nullcontext():
            opening(tmp_path / str(gap), later.digest, here, 10)
        if gap:  # and who has no gap any more came with the data, in the same study
            filled = ward(tmp_path)
            opening(tmp_path / str(gap), study.digest, cut(pointed(filled, key, column), study), 10)


GENES = STUDY["modalities"]["genes"]
SETTINGS = [
    ("labs", {"numeric": {"crp": {"low": 0, "high": 400}, "pulse": {"low": 20, "high": 220}}}),
    ("labs", {"numeric": {"pulse": {"low": 20, "high": 220}, "crp": {"low": 0, "high": 300}}}),
    ("labs", {"drop_first": True}),
    ("genes", {"genes": GENES["genes"][::-1], "low": -9}),
]


@pytest.mark.parametrize(("name", "changed"), SETTINGS, ids=["a bound", "order", "drop_first", "genes"])
def test_who_comes_with_the_data_is_no_difference_of_studies_of_other_settings(tmp_path, name, changed) -> None:
    """What takes nobody in or out: the hospital was refused for a gap that it had filled."""
    first, settings = of(HASH, name), STUDY["modalities"][name] | changed
    second = study_of({"split": HASH, "modalities": {name: settings}})
    folder = ward(tmp_path, without(*LABS, *GENES["genes"]))
    opening(tmp_path / "run", first.digest, cut(folder, first), 10)
    ward(tmp_path)
    assert first.digest != second.digest and len(prepare(folder, second).train) == 20
    opening(tmp_path / "run", second.digest, cut(folder, second), 10)


@pytest.mark.parametrize(("changed", "same"), [({"size": 9, "intensity": "range"}, True), ({"slices": 3}, False)])
def test_of_an_image_the_slices_alone_decide_who_has_one(tmp_path, changed, same) -> None:
    """A study that reads more slices may find one with text burned in, and takes nothing of that patient then."""
    one, other = (rules_of(ward(tmp_path).file, image_study(more), ["image"]) for more in ({}, changed))
    assert one.would_take(["image"], other, ["image"]) == same


def image_study(more: Row) -> Study:
    return study_of({"modalities": {"image": {"kind": "image"} | more}})


def test_who_opted_out_between_two_studies_is_no_difference_of_them(tmp_path) -> None:
    folder = ward(tmp_path)
    one, other = of(HASH, "labs"), of(COLUMN, "labs")
    opening(tmp_path / "run", one.digest, cut(folder, one), 10)
    write_list(tmp_path, "10007")
    opening(tmp_path / "run", other.digest, cut(folder, other), 10)


def gap(of_those: Collection[int], out: int = 0) -> Cut:
    """Of a study that splits by a column: so many of these patients have no word in it."""
    rest = {str(number): "train" for number in of_those if number >= out}
    left = frozenset(str(number) for number in of_those if number < out)
    return replace(everyone(rest), out=left, rules=Rules(split="year"))


@pytest.mark.parametrize(("out", "answered"), [(0, True), (1, False), (9, False), (10, True)])
def test_ten_are_left_out_where_a_person_allowed_it(tmp_path, out, answered) -> None:
    everybody, some = everyone({str(number): "train" for number in range(40)}), gap(range(40), out)
    opening(tmp_path, "a", everybody, 10)
    assert asked_about(tmp_path, "b", some) == out
    if out:
        with pytest.raises(AnsweredError):
            opening(tmp_path, "b", some, 10)
        allow(tmp_path, "b", some)
    with nullcontext() if answered else pytest.raises(AnsweredError, match=f"by {out} patients"):
        opening(tmp_path, "b", some, 10)
    opening(tmp_path, "a", everybody, 10)
    require_alike(tmp_path, "a", everybody, 1)
    if answered and out:
        with pytest.raises(AnsweredError, match="as few as"):
            require_alike(tmp_path, "c", some, 10)


def test_a_word_is_not_for_those_who_are_left_out_later(tmp_path) -> None:
    first, more = (everyone({str(number): "train" for number in range(size)}) for size in (40, 60))
    opening(tmp_path, "a", first, 10)
    allow(tmp_path, "b", gap(range(40), 10))
    opening(tmp_path, "b", gap(range(40), 10), 10)
    opening(tmp_path, "a", more, 10)
    later = gap([*range(40), *range(40, 60)], 10)
    opening(tmp_path, "b", later, 10)  # whom both have
    fewer = replace(later, parts={one: part for one, part in later.parts.items() if int(one) < 40})
    fewer = replace(fewer, out=later.out | {str(number) for number in range(40, 60)})
    opening(tmp_path / "new", "a", more, 10)
    allow(tmp_path / "new", "b", gap(range(40), 10))
    with pytest.raises(AnsweredError, match="as few as 30"):
        opening(tmp_path / "new", "b", fewer, 10)


def everybody_trains(study: Study, name: str, place: int, lacking: Collection[int] = ()) -> Cohort:
    """Twenty; who is `lacking` has a target and no word in the split column."""
    cohort = cohort_of(study, name, seed=10 * place, patients=20)
    keep = [number for number in range(20) if number not in lacking]
    none, train = cohort.test.rows([]), cohort.train.rows(torch.tensor(keep))
    return replace(
        cohort,
        train=train,
        validation=none,
        test=none,
        version=f"{len(keep)}{place:062x}",
        sides={f"train {number}": "train" for number in keep},
        out=frozenset(f"train {number}" for number in lacking),
        rules=Rules(split=study.split.column or ""),
    )


@pytest.mark.parametrize("column", [True, False], ids=["no word", "everybody has a word"])
def test_two_studies_that_differ_by_a_gap_in_the_split_column_do_not_show_that_patient(tmp_path, column) -> None:
    """Their counts were 80 and 79, and the difference of their moments was the patient's values."""
    one = replace(normalised_study(), split=Split(validation=0.0, test=0.0))
    two = replace(one, split=Split(column="year", test_values=["nobody's word"]))
    cohorts = {name: everybody_trains(one, name, place) for place, name in enumerate(NAMES)}
    them = hospitals(tmp_path, one, cohorts)
    before = them.summed(1, **STATISTICS)
    now = {name: everybody_trains(two, name, place) for place, name in enumerate(NAMES)}
    them = in_study(them, two, now | {ME: everybody_trains(two, ME, 0, [7] if column else [])})
    sum = them.offered(2, run="f" * 16, study=two.digest, **STATISTICS)
    if column:
        assert refused(them, ME, them.round_request(sum)) == "answered"
        return
    after = them.opened(sum)
    assert before["moments/chart"] == pytest.approx(after["moments/chart"], abs=1e-3)


def test_two_studies_of_other_modalities_do_not_show_who_is_in_one_alone(tmp_path) -> None:
    """One validation patient of ME has nothing but a panel, and the second study knows no panels."""
    study = plain_study()
    cohorts = with_one_panel_alone(study)
    them = hospitals(tmp_path, study, cohorts)
    them.summed(1, **STATISTICS)
    other = tiny.study_of("chart", **PLAIN)
    charts = {name: of_charts(cohort) for name, cohort in cohorts.items()}
    them = in_study(them, other, charts)
    sum = them.masked(them.offered(2, **STATISTICS, owners=CHARTS, study=other.digest), [*{*NAMES} - {ME}])
    assert refused(them, ME, them.round_request(sum)) == "answered"


def of_charts(cohort: Cohort) -> Cohort:
    """As a study has it that knows no panels."""
    seen = cohort.seen_with(["chart"])
    narrow = {part: without_panels(getattr(seen, part)) for part in PARTS}
    return replace(seen, owned=("chart",), out=frozenset(cohort.sides.keys() - seen.sides.keys()), **narrow)


def without_panels(part: Batch) -> Batch:
    """As a study has it that knows no panels."""
    return Batch({"chart": part.inputs["chart"]}, part.present[:, :1], part.target)


def two_tables(root: Path) -> SiteFolder:
    """Tables of admission and of discharge with the same columns; in that of admission 10007 has an empty row."""
    for file, nobody in (("records.csv", "10007"), ("discharge.csv", "")):
        values = {"CRP (mg/l)": 3, "pulse": 80, "sex": "W"}
        rows = [
            {"patient_id": one, "outcome": ["alive", "dead"][number % 2]}
            | (dict.fromkeys(values, "") if one == nobody else values)
            for number, one in enumerate(NUMBERS)
        ]
        write_csv(root / file, rows)
    table = {"columns": {"crp": "CRP (mg/l)"}, "values": {"sex": {"W": "f", "M": "m"}}}
    files = {"labs": "records.csv", "discharge": "discharge.csv"}
    records = {name: deepcopy(table) | {"file": file} for name, file in files.items()}
    return write_site(root, {"images": None, "notes": None, "sequences": None, "records": records})


@pytest.mark.parametrize("turned", [False, True], ids=["left out later", "left out first"])
def test_two_modalities_with_the_same_settings_are_not_the_same_modality(tmp_path, turned) -> None:
    folder, labs = two_tables(tmp_path), STUDY["modalities"]["labs"]
    both = study_of({"split": HASH, "modalities": {"labs": labs, "discharge": deepcopy(labs)}})
    one = of(HASH, "labs")
    assert [len(prepare(folder, study).train) for study in (both, one)] == [20, 19]
    first, second = (one, both) if turned else (both, one)
    opening(tmp_path / "run", first.digest, cut(folder, first), 10)
    assert asked_about(tmp_path / "run", second.digest, cut(folder, second)) == 1
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path / "run", second.digest, cut(folder, second), 10)


def with_a_panel_alone(part: str, used: str, *signed: str, panels: int = 1) -> Cut:
    """Sixty patients; the first ones have a panel alone, and only they may be in another part."""
    having = {str(number): frozenset({"chart", "panel"} if number >= panels else {"panel"}) for number in range(60)}
    parts = dict.fromkeys(having, "train") | {str(number): part for number in range(panels)}
    return Cut(parts, having, frozenset(used.split()), frozenset(signed))


def test_who_adds_nothing_in_a_part_that_is_not_signed_does_not_come_into_another_part_alone(tmp_path) -> None:
    """A run used charts alone, for too few sites had panels: he was kept nowhere, and the next study showed him."""
    opening(tmp_path, "a", with_a_panel_alone("test", "chart", "train"), 10)
    moved = with_a_panel_alone("train", "chart panel", "train")
    assert asked_about(tmp_path, "b", moved) == 1
    with pytest.raises(AnsweredError, match="by 1 patients"):
        opening(tmp_path, "b", moved, 10)
    opening(tmp_path, "b", with_a_panel_alone("test", "chart panel", "train"), 10)  # he adds nothing there either
    ten = tmp_path / "ten"
    opening(ten, "a", with_a_panel_alone("test", "chart", "train", panels=10), 10)
    same = with_a_panel_alone("test", "chart panel", "train", "test", panels=10)  # all of this part come
    assert asked_about(ten, "b", same) == 10
    allow(ten, "b", same)
    opening(ten, "b", same, 10)


def of_genes_alone(number: int, *used: str) -> Cut:
    """Sixty training patients, so many of whom have genes alone and the others labs as well."""
    both = frozenset({"labs", "genes"})
    having = {str(one): frozenset({"genes"}) if one < number else both for one in range(60)}
    return Cut(dict.fromkeys(having, "train"), having, frozenset(used))


@pytest.mark.parametrize(("few", "answered"), [(3, False), (10, True), (0, True)])
def test_a_site_with_few_of_a_new_modality_does_no_work_of_any_study_that_uses_it(tmp_path, few, answered) -> None:
    """It got its owner number c + 2 after a run without it; another study shows as much."""
    wide, narrow = of_genes_alone(few, "labs", "genes"), of_genes_alone(few, "labs")
    opening(tmp_path, "a", narrow, 10)
    allow(tmp_path, "b", wide)
    for study in "ab":
        with nullcontext() if answered else pytest.raises(AnsweredError, match=f"{few} patients of a part"):
            require_alike(tmp_path, study, wide, 10)
        require_alike(tmp_path, study, narrow, 10)


def test_a_person_is_asked_about_a_run_that_uses_fewer_modalities_than_the_study(tmp_path) -> None:
    """Approval knows the study's; the run was refused for want of a word, and nobody was asked for one."""
    wide, narrow = of_genes_alone(12, "labs", "genes"), of_genes_alone(12, "labs")
    opening(tmp_path, "a", wide, 10)
    assert asked_about(tmp_path, "b", wide) == 0
    for judge in (require_alike, opening):
        with pytest.raises(AnsweredError, match="by as few as 12 patients"):
            judge(tmp_path, "b", narrow, 10)
    assert asked_about(tmp_path, "b", wide) == 12 and asked_about(tmp_path, "c", wide) == 0
    allow(tmp_path, "b", wide)
    assert asked_about(tmp_path, "b", wide) == 0
    opening(tmp_path, "b", narrow, 10)


@pytest.mark.parametrize("key", ["policy", "site.yaml"])
def test_a_modality_that_a_site_reads_no_more_takes_few_out_of_no_sum(tmp_path, key) -> None:
    """The one who has nothing else left the study's sums: another study was refused then, and the same one was not."""
    folder = ward(tmp_path, without(*LABS))
    study = of(HASH, "labs", "genes")
    both = cut(folder, study)
    opening(tmp_path / "run", study.digest, both, 10)
    file = yaml.safe_load((tmp_path / "site.yaml").read_text())
    allowed = file["policy"] | {"modalities": ["labs"]}
    file |= {"policy": allowed} if key == "policy" else {"sequences": {}}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(file))
    now = prepare(read_site(tmp_path), study)
    assert len(now.train) == 19 and now.owned == ("labs",)
    with pytest.raises(AnsweredError, match="these 1 patients"):
        opening(tmp_path / "run", study.digest, cut_of(now, now.owned), 10)
    opening(tmp_path / "run", study.digest, both, 10)
    ward(tmp_path, without(*LABS, *GENES["genes"]))  # who lost the genes with the data leaves as before
    opening(tmp_path / "run", study.digest, cut(folder, study), 10)


@pytest.mark.parametrize("now", [10, 300])
def test_a_person_is_told_what_no_word_can_allow(tmp_path, now) -> None:
    """Nine had charts alone when sums of panels were opened, and stay nine: 300 was told, or nothing, and nine refused.
    And a study's own round, which approval did not look at.
    """

    def charts(number: int, *used: str) -> Cut:
        having = {f"p{one}": frozenset({"panel"}) for one in range(40)}
        having |= {f"c{one}": frozenset({"chart"}) for one in range(number)}
        return Cut(dict.fromkeys(having, "train"), having, frozenset(used))

    opening(tmp_path, "a", charts(9, "panel"), 10)
    later = charts(now, "chart", "panel")
    for study in "ab":
        for _ in range(2):
            assert asked_about(tmp_path, study, later, 10) == 9
            allow(tmp_path, study, later)
        with pytest.raises(AnsweredError, match="9 patients of a part"):
            require_alike(tmp_path, study, later, 10)
    opening(tmp_path, "a", charts(now, "panel"), 10)
    assert asked_about(tmp_path, "b", later, 10) == 9
    assert asked_about(tmp_path, "a", charts(now, "panel"), 10) == 0


def test_a_file_of_before_it_was_kept_who_is_in_no_part_learns_it(tmp_path) -> None:
    """It looked complete once the study was opened again, and whom that study had left out was in no sum of two."""
    having = {str(one): frozenset({"panel" if one == 0 else "chart"}) for one in range(40)}
    parts = dict.fromkeys(having, "train")
    opening(tmp_path, "a", Cut(parts, having, frozenset({"chart"})), 10)
    file = tmp_path / "cuts.json"
    stored = json.loads(file.read_text())
    uses = [{key: use[key] for key in ("study", "modalities", "patients")} for use in stored["uses"]]
    file.write_text(json.dumps({"format": 1, "cuts": stored["cuts"], "uses": uses}))
    (tmp_path / "audit.jsonl").unlink()
    opening(tmp_path, "a", Cut(parts, having, frozenset({"chart"})), 10)
    with pytest.raises(AnsweredError, match="by 1 patients"):
        require_alike(tmp_path, "b", Cut(parts, having, frozenset({"chart", "panel"})), 10)
