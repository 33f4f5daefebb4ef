"""Tables as hospitals export them: separators, gaps, words, duplicates; and mistakes told by column and count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from client.data.notes import read_notes
from client.data.records import read_records
from client.data.sequences import read_sequences
from client.data.tables import numbers, read_table
from client.site import NoteSource, TableSource
from common.errors import DataError, SiteFileError
from common.modalities.record import Numeric, RecordModality
from common.modalities.sequence import SequenceModality

LABS = RecordModality(
    kind="record",
    numeric={"crp": Numeric(low=0, high=300), "pulse": Numeric(low=20, high=220)},
    categorical={"sex": ["f", "m"]},
)


def table(folder: Path, text: str, encoding: str = "utf-8") -> Any:
    (folder / "t.csv").write_bytes(text.encode(encoding))
    return read_table(folder / "t.csv", "records.labs.file")


def records(folder: Path, text: str, **source: Any) -> dict[str, list[float]]:
    where = TableSource(file=Path("t.csv"), **source)
    read = read_records(table(folder, text), where, LABS, "id", "records.labs")
    return {name: [*values.numeric.tolist(), *values.categorical.tolist()] for name, values in read.items()}


def test_a_row_becomes_numbers_and_places_in_lists(tmp_path: Path) -> None:
    text = "id,CRP,pulse,Sex,secret\n a , 12.5,80,W,x\nb,?,1e2,,y\nc,-,NA,M,z\n"
    got = records(
        tmp_path, text, columns={"crp": "CRP", "sex": "Sex"}, values={"sex": {"W": "f", "M": "m"}, "crp": {"-": "0"}}
    )
    np.testing.assert_equal(got, {"a": [12.5, 80, 0], "b": [np.nan, 100, -1], "c": [0, np.nan, 1]})


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_separators_marks_and_line_ends(tmp_path: Path, separator: str, encoding: str, end: str) -> None:
    lines = ["id,crp,pulse,sex", 'a,1,2,"f"', "", ",,,"]
    text = end.join(line.replace(",", separator) for line in lines)
    got = table(tmp_path, text, encoding)
    assert got.header == ("id", "crp", "pulse", "sex") and got.rows == (("a", "1", "2", "f"),)


def test_duplicates_follow_the_site_file(tmp_path: Path) -> None:
    text = "id,crp,pulse,sex\na,1,50,f\nb,2,60,m\na,3,70,m\n"
    assert records(tmp_path, text, duplicates="first")["a"][0] == 1
    assert records(tmp_path, text, duplicates="last")["a"][0] == 3
    with pytest.raises(DataError, match=r"1 patients have more than one row.*records.labs.duplicates"):
        records(tmp_path, text)


def test_rows_without_a_patient_are_nobody(tmp_path: Path) -> None:
    assert list(records(tmp_path, "id,crp,pulse,sex\n,1,50,f\nb,2,60,m\n")) == ["b"]


@pytest.mark.parametrize("cell", ["12,5", "high", "inf", "-Infinity", "1_000", "0x10", "1e999", "12 mg"])
def test_what_is_no_number_is_counted_not_guessed(tmp_path: Path, cell: str) -> None:
    with pytest.raises(DataError, match=r"'CRP' \(2 of 3\).*records.labs.missing.*records.labs.values") as caught:
        records(tmp_path, f'id,CRP,pulse,sex\na,"{cell}",5,f\nb,1,5,f\nc,"{cell}",5,m\n', columns={"crp": "CRP"})
    assert cell not in str(caught.value).replace(str(tmp_path), "")


def test_all_wrong_columns_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'crp' \(1 of 2\), 'pulse' \(2 of 2\)"):
        records(tmp_path, "id,crp,pulse,sex\na,x,y,f\nb,1,z,m\n")


def test_a_word_outside_the_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'sex' \(1 of 2; the study's: \['f', 'm'\]\).*records.labs.values") as caught:
        records(tmp_path, "id,crp,pulse,sex\na,1,2,f\nb,1,2,Unaussprechlich\n")
    assert "Unaussprechlich" not in str(caught.value)


def test_a_missing_column_names_file_column_and_key(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"t.csv: has no column 'pulse'.*Close to it: Pulse_.*records.labs.columns.pulse"
    ):
        records(tmp_path, "id,crp,Pulse_,sex\na,1,2,f\n")
    with pytest.raises(DataError, match=r"'id'.*records.labs.patient"):
        records(tmp_path, "who,crp,pulse,sex\na,1,2,f\n")


def test_a_file_without_a_header_does_not_show_its_first_patient(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line of column names") as caught:
        records(tmp_path, "Quispe,Iðunn,1931-04-12,f\nOkonkwo,Xiulan,1950-01-01,m\n")
    for word in ("Quispe", "Iðunn", "1931"):
        assert word not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("id,crp,crp,sex\n", "same name"),
        ("id,crp,pulse,sex\na,1,2,f,Quispe\n", "1 rows have more or fewer cells"),
        ("id,crp,pulse,sex\nQuispe\n", "1 rows have more or fewer cells"),
        ('id,crp,pulse,sex\na,"Quispe,2,f\n', "line 2.*quotes"),
        ('id,crp,pulse,sex\na,"Qui"spe",2,f\n', "line 2.*quotes"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        records(tmp_path, text)
    assert "t.csv" in str(caught.value) and "Quispe" not in str(caught.value)


def test_other_encodings_and_absent_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not UTF-8") as caught:
        table(tmp_path, "id,name\na,Müller\n", "latin-1")
    assert caught.value.__context__ is None  # Python's own error carries the whole file
    with pytest.raises(SiteFileError, match=r"no\.csv: cannot be read.*key notes.report.file"):
        read_table(tmp_path / "no.csv", "notes.report.file")


def test_notes_are_joined_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = 'id,text\na,"one, ""quoted"""\nb,\na,"two\nlines"\n'
    got = read_notes(table(tmp_path, text), NoteSource(file=Path("t.csv")), "id", "notes.report")
    assert got == {"a": 'one, "quoted"\ntwo\nlines'}


def test_a_long_note_is_one_cell(tmp_path: Path) -> None:
    got = read_notes(
        table(tmp_path, f"id,text\na,{'x' * 300_000}\n"), NoteSource(file=Path("t.csv")), "id", "notes.report"
    )
    assert len(got["a"]) == 300_000


def test_genes_come_in_the_order_of_the_study(tmp_path: Path) -> None:
    modality = SequenceModality(kind="sequence", genes=["TP53", "EGFR"])
    source = TableSource(file=Path("t.csv"), columns={"EGFR": "egfr_z"})
    got = read_sequences(table(tmp_path, "id,egfr_z,TP53\na,1,2\nb,NA,3\n"), source, modality, "id", "sequences.genes")
    np.testing.assert_equal({name: list(value) for name, value in got.items()}, {"a": [2, 1], "b": [3, np.nan]})
    with pytest.raises(DataError, match=r"'egfr_z' \(1 of 1\).*sequences.genes.missing"):
        read_sequences(table(tmp_path, "id,egfr_z,TP53\na,low,2\n"), source, modality, "id", "sequences.genes")


@given(
    cells=st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), st.just("NA"), st.just("")))
)
def test_every_number_and_every_gap_is_kept(cells: list[str]) -> None:
    values, bad = numbers(cells, ["NA"])
    assert bad == 0
    for cell, value in zip(cells, values, strict=True):
        assert np.isnan(value) if cell in {"", "NA"} else value == float(cell)


def test_site_files_words_are_text(tmp_path: Path) -> None:
    """YAML reads `1` as a number; a site file that maps the words 1 and 0 quotes them, or is told to."""
    from client.site import read_site

    (tmp_path / "site.yaml").write_text(
        yaml.safe_dump({"site": "a", "target": {"file": "t", "column": "c", "values": {"1": "dead", "0": "alive"}}})
    )
    assert read_site(tmp_path).file.target.values == {"1": "dead", "0": "alive"}
