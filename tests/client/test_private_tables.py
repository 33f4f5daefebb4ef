"""What stands in one patient's row of a table takes no other patient's row, in a private study or another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from client.data.prepare import prepare
from client.data.swallowed import Numbers
from client.data.tables import read_table
from tests.support.hospital import hospital, person, study_of
from tests.support.scripted import ME, PRIVATE
from tests.support.ward import ONE, PATIENTS, Ward, alike, bytes_in, change, private


def test_a_neighbour_is_read_as_if_the_broken_row_were_not_there(tmp_path: Path) -> None:
    """An open quote swallows no other patient: with that row or without it, the others' cases are the same."""
    study = private({}, "labs", "genes")
    with_row = Ward(tmp_path / "a", study, bytes_in("genes.csv", ONE.encode(), b'"' + ONE.encode()))
    without = Ward(
        tmp_path / "b",
        study,
        lambda root: change(root, "genes.csv", lambda rows: [row for row in rows if row["patient_id"] != ONE]),
    )
    one, other = (ward.sites[ME].site.cohort for ward in (with_row, without))
    for part in ("train", "validation", "test"):
        ours, theirs = getattr(one, part), getattr(other, part)
        assert all(np.array_equal(ours.inputs[name], theirs.inputs[name]) for name in study.names)
    assert one.counts["sequences.genes: rows whose quotes do not close"] == 1


def note_rows(numbers: range) -> list[str]:
    return [f"{person(number).patient},short note" for number in numbers]


# What of a row of ONE stands before neighbours' rows: a quote that opens there and closes in one of theirs.
SWALLOWING = {
    "short rows": [*note_rows(range(1, 6)), f'{person(6).patient},"\nFindings: none, well"'],
    "one row": [f'{person(6).patient},"\nFindings: none, well"'],
    "a quoted row": [f'{person(1).patient},""', f'"{person(6).patient}","\nFindings: none, well"'],
    "rows and a blank one": [*note_rows(range(1, 3)), "", f'{person(6).patient},"\nFindings: none, well"'],
    "a second open quote": [f'{person(1).patient},"a letter', f'{person(6).patient},"\nFindings: none, well"'],
}


@pytest.mark.parametrize("what", SWALLOWING)
def test_a_quote_that_a_neighbours_closes_takes_no_neighbours_note(tmp_path: Path, what: str) -> None:
    """Where the row of both is as wide as the first line. With ONE's row or without, the others' notes are the same."""
    study, cohorts = study_of(PRIVATE, modalities=["report"]), []
    for row in [], [f'{ONE},"see letter'], [f'{ONE},"see ""letter""']:
        folder = hospital(tmp_path / str(len(cohorts)), PATIENTS)
        lines = ["patient_id,text", *row, *SWALLOWING[what], *note_rows(range(7, 16))]
        (folder.root / "notes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        cohorts.append(prepare(folder, study, at_work=True))
    without, *others = cohorts
    assert len(without.train) + len(without.validation) + len(without.test) >= 10
    for one in others:
        assert alike(one, without, ["report"])
        assert one.counts["notes.report: rows whose quotes do not close"] == 1 + (what == "a second open quote")


def test_a_quote_that_a_neighbours_closes_takes_no_neighbour_out_of_the_targets_file(tmp_path: Path) -> None:
    """There no number is known before: what has a figure, in a line as wide as the first one, is one."""

    def quoted(root: Path, *, there: bool) -> None:
        header, first, *lines = (root / "records.csv").read_text(encoding="utf-8").splitlines()
        opened, closed = (line.rpartition(",") for line in (first, lines[6]))
        lines[6] = f'{closed[0]},"\n{closed[2]}"'
        rows = [f'{opened[0]},"{opened[2]}', *lines] if there else lines
        (root / "records.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")

    study = private({}, "labs")
    wards = [Ward(tmp_path / str(there), study, partial(quoted, there=there)) for there in (True, False)]
    one, other = (ward.sites[ME].site.cohort for ward in wards)
    assert alike(one, other, study.names) and len(other.sides) == PATIENTS - 1
    assert one.counts["target: rows whose quotes do not close"] == 1


def test_a_note_of_several_lines_is_read_also_where_a_line_looks_like_a_row(tmp_path: Path) -> None:
    """Its own number before a comma, a date, a quote, the number of nobody here; and other columns before it."""
    number, study = person(3).patient, study_of(PRIVATE, modalities=["report"])
    text = f'seen today\n{number}, as before\n2024-05-01,stable\nMRN-1,brother\n\nhe said ""fine"", twice\nend'
    for header, row in (("patient_id,text", f'{number},"{text}"'), ("text,patient_id", f'"{text}",{number}')):
        folder = hospital(tmp_path / header[:4], PATIENTS)
        (folder.root / "notes.csv").write_text(f"{header}\n{row}\n", encoding="utf-8")
        counts = prepare(folder, study, at_work=True).counts
        assert counts["notes.report: rows"] == counts["notes.report: patients"] == 1
        assert "notes.report: rows whose quotes do not close" not in counts
        table = read_table(
            folder.root / "notes.csv", "t", gaps=True, numbers=Numbers("patient_id", frozenset({number, ONE}))
        )
        assert max(table.rows[0], key=len) == text.replace('""', '"')


# A row of ONE with a quote that does not close, and the neighbour's, whose text ends in an inch mark and is read well.
INCHES = {
    "the number first": ("patient_id,text,ward", '{},"a letter,w', '{},a wound of 5",w', "{},seen,w"),
    "the number behind": ("text,patient_id,ward", '"a letter,{},w', 'a wound of 5",{},w', "seen,{},w"),
    "commas in the text": ("text,patient_id,ward", '"a letter, of May, late,{},w', 'a wound of 5",{},w', "seen,{},w"),
    "the number last": ("ward,text,patient_id", 'w,"a letter,{}', 'w,a wound of 5",{}', "w,seen,{}"),
}


@pytest.mark.parametrize("stranger", [False, True])
@pytest.mark.parametrize("what", INCHES)
def test_an_open_quote_takes_no_neighbours_note_that_ends_in_an_inch_mark(
    tmp_path: Path, what: str, *, stranger: bool
) -> None:
    """Nor is the text of ONE, or of a patient whom no target names, in a neighbour's note. Without that row the
    neighbour's is read as it is.
    """
    study, (header, opened, closed, plain) = study_of(PRIVATE, modalities=["report"]), INCHES[what]
    who = ONE.translate(str.maketrans("0123456789", "9999999999")) if stranger else ONE
    cohorts = []
    for there in (False, True):
        folder = hospital(tmp_path / str(there), PATIENTS)
        pair = [opened.format(who)] * there + [closed.format(person(1).patient)]
        lines = [header, *pair, *(plain.format(person(number).patient) for number in range(2, 16))]
        (folder.root / "notes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        cohorts.append(prepare(folder, study, at_work=True))
    without, one = cohorts
    assert len(one.train) + len(one.validation) + len(one.test) == 15 and alike(one, without, ["report"])
    assert one.counts["notes.report: rows whose quotes do not close"] == 1


@pytest.mark.parametrize("file", ["records.csv", "genes.csv", "patients.csv"])
def test_an_open_quote_takes_no_neighbours_row_that_ends_in_an_inch_mark(tmp_path: Path, file: str) -> None:
    """In the file of targets and records, of sequences and of `identity`, of which the neighbour's name is scrubbed."""
    study, cohorts = private({}, "labs", "genes", "report"), []
    for there in (False, True):
        folder = hospital(tmp_path / str(there), PATIENTS)
        change(folder.root, "notes.csv", lambda rows: [
            row | {"text": f"{person(1).given} {person(1).family} came"} for row in rows if row["patient_id"] != ONE
        ])  # fmt: skip
        first, *rows = (folder.root / file).read_text(encoding="utf-8").splitlines()

        def wide(row: str, remark: str) -> str:
            number, _, rest = row.partition(",")
            return f"{number},{remark},w,{rest}"

        lines = [wide(first, "remark").replace(",w,", ",ward,")]
        lines += [wide(rows[0], '"a letter')] * there + [wide(rows[1], 'a wound of 5"')]
        lines += [wide(row, "seen") for row in rows[2:]]
        (folder.root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
        cohorts.append(prepare(folder, study, at_work=True))
    without, one = cohorts
    assert len(one.sides) == len(without.sides) == PATIENTS - (file == "records.csv")
    assert alike(one, without, study.names)


@pytest.mark.parametrize(
    "cells",
    [{"name": "", "mail": "", "birth": ""}, {"name": ""}, {"name": " - ", "mail": ""}],
    ids=["all", "name", "-"],
)
def test_a_row_of_identity_without_a_name_is_none_and_the_patient_has_no_note(
    tmp_path: Path, cells: dict[str, str]
) -> None:
    """The name stayed in the note, for nobody had said it. The others' notes are as they were, and so is ONE's where
    the cells are full.
    """
    study, counted = study_of(PRIVATE, modalities=["report"]), []
    lost = "notes.report: patients whom `identity` does not have, or does not name"
    for emptied in ({}, cells):
        folder = hospital(tmp_path / str(len(counted)), PATIENTS, site={"images": None})
        (folder.root / "notes.csv").write_text(
            "\n".join(
                ["patient_id,text", *(f"{person(n).patient},{person(n).family} coughs" for n in range(PATIENTS))]
            ),
            encoding="utf-8",
        )
        if emptied:
            change(
                folder.root,
                "patients.csv",
                lambda rows: [row | (cells if row["patient_id"] == ONE else {}) for row in rows],
            )
        counts = prepare(folder, study, at_work=True).counts
        counted.append((counts["notes.report: patients"], counts.get(lost, 0)))
    assert counted == [(PATIENTS, 0), (PATIENTS, 1)]
