"""Bad input: each mistake of a hospital or a study ends in one clear error, and no patient's value is in it.

Every value of the hospital here carries a word that occurs nowhere else; whatever goes wrong, that word must not show.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.kinds import KINDS
from client.data.prepare import prepare
from client.site import SiteFolder, read_site
from common.errors import CohortError, DataError, DeidentificationError, SiteFileError, WardroundError
from common.study import Study
from tests.support.hospital import study_of, write_csv, write_dicom, write_site

SENTINEL = "Xq7Zeppelin"
PATIENTS = 8


@dataclass
class Ward:
    """A hospital before it is written: cases spoil it."""

    root: Path
    table: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    genes: list[dict[str, Any]] = field(default_factory=list)
    who: list[dict[str, Any]] = field(default_factory=list)
    site: dict[str, Any] = field(default_factory=dict)
    study: Study = field(default_factory=study_of)

    def __post_init__(self) -> None:
        for number in range(PATIENTS):
            patient = f"{SENTINEL}-{number}"
            outcome = ["alive", "dead"][number % 2]
            self.table.append({"patient_id": patient, "outcome": outcome, "CRP (mg/l)": 5, "pulse": 70, "sex": "W"})
            self.notes.append({"patient_id": patient, "text": f"{SENTINEL} has pain"})
            self.genes.append({"patient_id": patient, "TP53": 1, "EGFR": 2, "PTEN": number})
            who = {"name": SENTINEL, "mail": f"{SENTINEL}@a.example", "birth": "1950-01-01"}
            self.who.append({"patient_id": patient, **who})
            self.image(number, PatientID=patient)

    def image(self, number: int, **attributes: Any) -> Path:
        path = self.root / "images" / SENTINEL / f"{SENTINEL}_{number}.dcm"
        write_dicom(path, np.eye(16, dtype=np.uint16) * 900, PatientName=SENTINEL, **attributes)
        return path

    def write(self) -> SiteFolder:
        files = {"records": self.table, "notes": self.notes, "genes": self.genes, "patients": self.who}
        for name, rows in files.items():
            write_csv(self.root / f"{name}.csv", rows)
        return write_site(self.root, self.site)


Spoil = Callable[[Ward], None]
CASES: dict[str, tuple[type[WardroundError], str, Spoil, bool]] = {}


def case(kind: type[WardroundError], words: str, late: bool = False) -> Callable[[Spoil], Spoil]:
    """What must be raised, and what it must say; `late` spoils files that are already written."""

    def keep(spoil: Spoil) -> Spoil:
        CASES[spoil.__name__] = (kind, words, spoil, late)
        return spoil

    return keep


def rename(rows: list[dict[str, Any]], column: str) -> None:
    for row in rows:
        row["other"] = row.pop(column)


def each(rows: list[dict[str, Any]], **values: Any) -> None:
    for row in rows:
        row.update(values)


def images_become(ward: Ward, change: Callable[[bytes], bytes]) -> None:
    for path in ward.root.glob("images/*/*"):
        path.write_bytes(change(path.read_bytes()))


def labs(**changes: Any) -> dict[str, Any]:
    source: Mapping[str, Any] = {"file": "records.csv", "columns": {"crp": "CRP (mg/l)"}, "values": {"sex": {"W": "f"}}}
    return {"records": {"labs": {**source, **changes}}}


# ------------------------------------------------------------------------------------------------------ missing columns


@case(DataError, r"records\.csv.*'pulse'.*records\.labs\.columns\.pulse")
def no_record_column(ward: Ward) -> None:
    rename(ward.table, "pulse")


@case(DataError, r"records\.csv.*'patient_id'.*target\.patient")
def no_patient_column(ward: Ward) -> None:
    rename(ward.table, "patient_id")


@case(DataError, r"records\.csv.*'outcome'.*target\.column")
def no_target_column(ward: Ward) -> None:
    rename(ward.table, "outcome")


@case(DataError, r"notes\.csv.*'text'.*notes\.report\.text")
def no_text_column(ward: Ward) -> None:
    rename(ward.notes, "text")


@case(DataError, r"genes\.csv.*'EGFR'.*sequences\.genes\.columns\.EGFR")
def no_gene(ward: Ward) -> None:
    rename(ward.genes, "EGFR")


@case(DataError, r"patients\.csv.*'mail'.*identity\.0\.columns")
def no_identity_column(ward: Ward) -> None:
    rename(ward.who, "mail")


# --------------------------------------------------------------------------------------------------------- wrong values


@case(DataError, r"records\.csv.*'pulse' \(1 of 8\).*labs\.missing")
def no_number(ward: Ward) -> None:
    ward.table[3]["pulse"] = SENTINEL


@case(DataError, r"genes\.csv.*'TP53' \(1 of 8\)")
def no_gene_value(ward: Ward) -> None:
    ward.genes[3]["TP53"] = SENTINEL


@case(DataError, r"records\.csv.*'sex' \(1 of 8.*labs\.values")
def no_category(ward: Ward) -> None:
    ward.table[3]["sex"] = SENTINEL


@case(DataError, r"records\.csv.*'outcome': 1 of 8.*target\.values")
def no_class(ward: Ward) -> None:
    ward.table[3]["outcome"] = SENTINEL


@case(DataError, r"records\.csv.*1 patients have more than one row.*duplicates")
def two_rows(ward: Ward) -> None:
    ward.table.append(dict(ward.table[0]))


@case(DataError, r"records\.csv.*'outcome': 1 patients.*contradict")
def two_targets(ward: Ward) -> None:
    ward.table.append(ward.table[0] | {"outcome": "dead"})


# --------------------------------------------------------------------------------------------------------- broken files


@case(DataError, r"records\.csv.*line of column names", late=True)
def no_header(ward: Ward) -> None:
    (ward.root / "records.csv").write_text(f"{SENTINEL},{SENTINEL}2\n" * 3)


@case(DataError, r"notes\.csv", late=True)
def one_word(ward: Ward) -> None:
    (ward.root / "notes.csv").write_text(SENTINEL)


@case(DataError, r"notes\.csv: line \d+", late=True)
def an_open_quote(ward: Ward) -> None:
    (ward.root / "notes.csv").write_text(f'patient_id,text\na,"{SENTINEL}\n')


@case(DataError, r"genes\.csv: 1 rows", late=True)
def a_row_too_long(ward: Ward) -> None:
    (ward.root / "genes.csv").write_text(f"patient_id,TP53\n{SENTINEL},1,{SENTINEL}\n")


@case(DataError, r"notes\.csv: is not UTF-8", late=True)
def another_encoding(ward: Ward) -> None:
    (ward.root / "notes.csv").write_bytes(f"patient_id,text\nä,{SENTINEL}".encode("latin-1"))


@case(DataError, r"genes\.csv: is empty", late=True)
def an_empty_file(ward: Ward) -> None:
    (ward.root / "genes.csv").write_text("")


@case(SiteFileError, r"genes\.csv.*No such file", late=True)
def no_file(ward: Ward) -> None:
    (ward.root / "genes.csv").unlink()


@case(SiteFileError, r"target\.file")
def a_folder_for_a_file(ward: Ward) -> None:
    ward.site["target"] = {"file": ".", "column": "x"}


# --------------------------------------------------------------------------------------------------------------- images


@case(SiteFileError, r"elsewhere.*images\.xray\.folder")
def no_folder(ward: Ward) -> None:
    ward.site["images"] = {"xray": {"folder": "elsewhere"}}


@case(DataError, r"images: 8 files.*8 not DICOM.*images\.xray", late=True)
def not_dicom(ward: Ward) -> None:
    images_become(ward, lambda _: SENTINEL.encode() * 50)


@case(DataError, r"images: 8 files.*8 that cannot be decoded.*export them uncompressed", late=True)
def images_cut_short(ward: Ward) -> None:
    images_become(ward, lambda content: content[:-100])


@case(DataError, r"images: 8 files.*images\.xray", late=True)
def headers_cut_short(ward: Ward) -> None:
    images_become(ward, lambda content: content[:350])


@case(CohortError, r"images\.xray has 8 patients, and none.*8 with a target.*patient_tag")
def images_of_strangers(ward: Ward) -> None:
    for number in range(PATIENTS):
        ward.image(number, PatientID=f"{SENTINEL}/{number}")


@case(DeidentificationError, r"images\.xray.*BurnedInAnnotation")
def all_burned_in(ward: Ward) -> None:
    for number in range(PATIENTS):
        ward.image(number, PatientID=f"{SENTINEL}-{number}", BurnedInAnnotation="YES")


# -------------------------------------------------------------------------------------------------- the cases together


@case(CohortError, r"sequences\.genes has 8 patients, and none")
def genes_of_strangers(ward: Ward) -> None:
    for number, row in enumerate(ward.genes):
        row["patient_id"] = f"{SENTINEL}/{number}"


@case(CohortError, r"sequences\.genes has gaps only")
def gaps_only(ward: Ward) -> None:
    each(ward.genes, TP53="", EGFR="NA", PTEN="?")


@case(CohortError, r"no patient has both.*`target`.*site\.yaml")
def nobody_labelled(ward: Ward) -> None:
    each(ward.table, outcome="?")


@case(CohortError, r"training part.*split.*site\.yaml")
def all_in_the_test_part(ward: Ward) -> None:
    ward.study = study_of({"split": {"validation": 0.0, "test": 0.9999999}})


@case(CohortError, r"8 patients are more than.*max_cases.*7.*site\.yaml")
def too_many(ward: Ward) -> None:
    ward.study = study_of({"secure_sum": {"max_cases": 7}})


# -------------------------------------------------------------------------------------- the study and the site together


@case(CohortError, r"site\.yaml.*none of the study's modalities \(pet\).*labs")
def nothing_of_the_study(ward: Ward) -> None:
    ward.study = study_of({"modalities": {"pet": {"kind": "image"}}})


@case(CohortError, r"'xray' stands under images, but in the study it is of kind note.*under notes")
def another_kind(ward: Ward) -> None:
    ward.study = study_of({"modalities": {"xray": {"kind": "note"}}})


@case(CohortError, r"images and notes")
def two_kinds(ward: Ward) -> None:
    ward.site["notes"] = {"xray": {"file": "notes.csv"}}


@case(DeidentificationError, r"records\.labs.*crp.*identifies")
def a_feature_that_identifies(ward: Ward) -> None:
    ward.site |= labs(file="patients.csv", columns={"crp": "birth"})


@case(DeidentificationError, r"records\.labs.*crp.*identifies")
def the_patient_number_as_a_feature(ward: Ward) -> None:
    ward.site |= labs(columns={"crp": "patient_id"})


@case(SiteFileError, r"missing key split")
def no_split(ward: Ward) -> None:
    ward.study = study_of({"split": {"column": "fold"}})


@case(CohortError, r"patients\.csv.*'mail'.*none of the 8")
def a_split_of_nobody(ward: Ward) -> None:
    ward.study = study_of({"split": {"column": "fold"}})
    each(ward.who, mail="")
    ward.site["split"] = {"file": "patients.csv", "column": "mail"}


@case(SiteFileError, r"models/tiny: no such folder")
def no_pretrained_model(ward: Ward) -> None:
    encoder = {"source": "folder", "folder": "tiny"}
    ward.study = study_of({"modalities": {"report": {"kind": "note", "encoder": encoder}}})


@pytest.mark.parametrize("name", list(CASES))
def test_a_clear_error_and_nothing_of_a_patient(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    kind, words, spoil, late = CASES[name]
    ward = Ward(tmp_path)
    if late:
        ward.write()
    spoil(ward)
    if not late:
        ward.write()
    with pytest.raises(WardroundError, match=f"(?s){words}") as caught:
        prepare(read_site(tmp_path), ward.study)
    assert type(caught.value) is kind
    require_silence(caught.value, caplog, capfd)
    assert str(tmp_path) in str(caught.value) or "site.yaml" in str(caught.value)
    written = [path.name for path in (tmp_path / "state").glob("cache/*/*")]
    assert not written or (name == "too_many" and len(written) == 4 and not any(one.startswith(".") for one in written))


def require_silence(error: BaseException, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    printed = capfd.readouterr()
    shown = ["".join(traceback.format_exception(error)), caplog.text, printed.out, printed.err]
    link: BaseException | None = error
    while link is not None:  # also what `from None` only hides
        shown += [str(link), repr(link)]
        link = link.__cause__ or link.__context__
    for text in shown:
        assert SENTINEL.lower() not in text.lower()


def test_the_ward_itself_is_in_order(tmp_path: Path) -> None:
    """Else the errors above might have other reasons."""
    ward = Ward(tmp_path)
    assert prepare(ward.write(), ward.study).owned == ("xray", "labs", "report", "genes")


@pytest.mark.parametrize(
    "step",
    [
        "client.data.rows.deidentify",
        "client.data.prepare.read_labels",
        *(
            f"client.data.kinds.{kind.__module__.rpartition('.')[2]}.{kind.__name__}.{step}"
            for kind in KINDS.values()
            for step in ("gate", "read", "row", "values")
            if hasattr(kind, step)
        ),
    ],
)
def test_what_nobody_foresaw_is_told_without_its_words(
    tmp_path: Path,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    ward = Ward(tmp_path)
    site = ward.write()

    def fail(*_: Any) -> Any:
        raise KeyError(ward.who[0]["name"])

    monkeypatch.setattr(step, fail)
    with pytest.raises(DataError, match=r"KeyError in test_bad_input\.py, line") as caught:
        prepare(site, ward.study)
    require_silence(caught.value, caplog, capfd)
    assert caught.value.__context__ is None


def test_notes_that_cannot_be_cleaned_are_stored_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    ward = Ward(tmp_path)
    site = ward.write()
    monkeypatch.setattr("client.data.kinds.note.scrub", lambda text, known: (text, {}))
    with pytest.raises(DeidentificationError, match=r"notes\.report: in every note") as caught:
        prepare(site, ward.study)
    require_silence(caught.value, caplog, capfd)
    assert not list((tmp_path / "state").glob("cache/*/*"))


@pytest.mark.parametrize("order", [["genes", "report", "labs", "xray"], ["xray", "labs", "report", "genes"]])
def test_of_two_broken_files_the_same_is_told_first_whatever_the_studys_order(tmp_path: Path, order: list[str]) -> None:
    """Images, records, sequences, then notes, for which the others are read as well."""
    ward = Ward(tmp_path)
    site = ward.write()
    study = replace(ward.study, modalities={name: ward.study.modalities[name] for name in order})
    for name, told in (("notes", "notes"), ("genes", "genes"), ("records", "records")):
        (tmp_path / f"{name}.csv").write_bytes(b"")
        with pytest.raises(WardroundError, match=rf"{told}\.csv"):
            prepare(site, study)
