"""All whom a line of a list of opt-outs names are out, whatever stands around their numbers, and nobody else is.

Before, the first form of a line that was a patient's number ended the search: the others were trained on in silence.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.data.accepted import accept
from client.data.exclusions import Found, OptOuts, found_here, match
from client.data.list_lines import lines_of
from client.data.list_text import list_text
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.round.session import Site
from common.errors import DataError
from tests.client.data.test_opt_outs import NUMBERS, STUDY, patients_of, ward, write_list
from tests.support.hospital import study_of
from tests.support.scripted import PRIVATE

ONE, TWO, THREE = "10000", "10001", "10002"


def found(text: str, *here: str) -> Found:
    content = text.encode()
    return match(OptOuts(Path("l"), tuple(lines_of(Path("l"), list_text(content), "patient")), content), here)


TWO_IN_A_LINE = [
    f"{ONE} / {TWO}", f"{ONE}/{TWO}", f"{ONE} and {TWO}", f"{ONE} und {TWO}", f"{ONE} {TWO}", f"{ONE} & {TWO}",
    f"{ONE} + {TWO}", f"{ONE} - {TWO}", f"{ONE}-{TWO}", f"{ONE}、{TWO}", f"{ONE}，{TWO}", f"{ONE}；{TWO}",
    f"{ONE} (formerly {TWO})", f"{ONE}和{TWO}", f"患者{ONE}と{TWO}", f"{ONE}'{TWO}", f"{ONE}\u200b{TWO}",
    f"MRN{ONE} MRN{TWO}", f"{ONE}: 10.001", "10 000 / 10 001", f"{ONE}_{TWO}", f"{ONE}.0 {TWO}.0",
]  # fmt: skip


@pytest.mark.parametrize("line", TWO_IN_A_LINE)
def test_both_whom_a_line_names_are_out_and_the_line_is_named(line: str) -> None:
    got = found(f"patient\n{line}\n{THREE}\n", ONE, TWO, THREE, "10003")
    assert got.patients == {ONE, TWO, THREE} and got.near == (2,) and got.here == (2, 3)
    assert "3 patients left out" in got.said() and "(line 2)" in got.said()


@pytest.mark.parametrize(
    "cell", [f'"{ONE}, {TWO}"', f'"{ONE}; {TWO}"', f"{ONE}; {TWO}", f"{ONE} {TWO}", f"{ONE} | {TWO}", f"{ONE}/{TWO}"]
)
def test_both_whom_a_cell_names_are_out_also_where_the_list_has_two_columns(cell: str) -> None:
    got = found(f"patient,why\n{cell},by letter\n{THREE},\n", ONE, TWO, THREE, "10003")
    assert got.patients == {ONE, TWO, THREE} and got.near == got.inside == (2,)
    assert got.said().endswith("3 patients left out, 1 patient by another number in a line (line 2)")


BESIDE = [
    f"({TWO})", f"[{TWO}]", f"<{TWO}>", f"1. {TWO}", f"1) {TWO}", f"{TWO}-", f"~{TWO}", f"{TWO} x", f"–{TWO}",
    f"{TWO}-2", f"{TWO}.5", f"{TWO}²", f"② {TWO}", "10.001", "10,001", "old: 10001.0",
]  # fmt: skip


@pytest.mark.parametrize("line", BESIDE)
def test_whom_a_line_names_with_a_sign_beside_is_out(line: str) -> None:
    got = found(f"patient\n{line}\n{THREE}\n", ONE, TWO, THREE)
    assert got.patients == {TWO, THREE} and got.near == (2,) and not got.to_be_accepted


@pytest.mark.parametrize("row", [f",{TWO}", f",letter of {TWO}", f"20000,{TWO}", f'20000,"see {TWO}, moved"'])
def test_a_number_in_another_column_is_out_and_named(row: str) -> None:
    got = found(f"patient,why\n{row}\n{THREE},\n", ONE, TWO, THREE)
    assert got.patients == {TWO, THREE} and got.near == got.inside == (2,)


def test_a_number_inside_of_a_line_that_another_line_names_by_itself_is_not_counted_as_such() -> None:
    got = found(f"patient\n{ONE}\nmoved, see {ONE}\n", ONE, TWO)
    assert got.near == (3,) and got.inside == ()
    assert got.said() == "2 listed, 2 found here, 1 by a near miss (line 3), 1 patients left out"


def test_a_row_without_a_number_is_looked_at_by_a_person() -> None:
    assert found(f"patient,who\n{ONE},\n,Anna M.\n", ONE).doubtful == (3,)
    assert not found(f"patient,who\n{ONE},\n,\n", ONE).to_be_accepted


def test_a_day_in_a_list_that_is_a_patients_number_is_said_and_counted() -> None:
    """Too many are out rather than one too few; a person reads which lines did it."""
    got = found("patient,since\n17,2024-05-03\n18,2024-05-03\n", "17", "18", "2024", "3", "4")
    assert got.patients == {"17", "18", "2024", "3"}
    assert got.said().endswith("4 patients left out, 2 patients by another number in a line (lines 2, 3)")


@pytest.mark.parametrize("heading", ["patient_id;born", "patient_id", "patient_id,remark"])
def test_a_list_whose_birth_dates_take_out_many_others_is_accepted_by_a_person(tmp_path: Path, heading: str) -> None:
    """88 who had not objected were out by 100 lines, 31 of them counted, and nobody was asked."""
    objected, others = range(100, 120), range(1, 21)
    folder = ward(tmp_path, *map(str, (*objected, *others, *range(200, 220))))
    remark = "{0},x;{1}" if "," in heading else "{0};{1}"
    lines = [remark.format(one, f"{day:02}.30.{1500 + day}") for one, day in zip(objected, others, strict=True)]
    (tmp_path / "list.csv").write_text("\n".join([heading, *lines, ""]))
    with pytest.raises(DataError, match=r"20 patients by another number in a line .*may not have objected.*--accept"):
        prepare(folder, STUDY)
    assert len(prepare(folder, study_of(PRIVATE, ["labs"]), at_work=True).sides) == 20, "it goes on, without them"
    accept(tmp_path / "state", found_here(folder))
    assert len(prepare(folder, STUDY).sides) == 20


def test_few_whom_days_take_out_ask_nobody() -> None:
    """Up to nine lines, or one in twenty."""
    here = [str(number) for number in (*range(1, 21), *range(100, 400))]
    for many, all_of_them, asked in (9, 9, False), (10, 200, True), (10, 201, False), (15, 300, True):
        lines = [f"{100 + at}; day {at + 1}" if at < many else str(100 + at) for at in range(all_of_them)]
        got = found("\n".join(["patient", *lines, ""]), *here)
        assert (got.by_inside, got.to_be_accepted) == (many, asked)


@pytest.mark.parametrize(
    ("line", "one", "other"),
    [
        ("10000/2", "10000", "10000/2"),
        ("1.23457E+11", "123456789012", "123457000000"),
        ("10001-", "10001", "10001-"),
        ("10.001", "10001", "10.001"),
        ("x / SC 0704", "SC0704", "SC"),
        ("x; SC-0704 x", "(SC-0704)", "0704"),
    ],
)
def test_whether_another_is_here_brings_nobody_back_whom_the_line_may_mean(line: str, one: str, other: str) -> None:
    assert found(f"patient\n{line}\n", one).patients == {one}
    assert found(f"patient\n{line}\n", one, other).patients == {one, other}


# Numbers of patients as hospitals have them. None is a part of another, so that a list can be said to name nobody.
KINDS = {
    "figures": st.integers(70_000_000, 79_999_999).map(str),
    "with zeros": st.integers(70_000, 79_999).map("{:08}".format),
    "with letters": st.integers(7000, 7999).map("SC-{}".format),
    "a year": st.integers(701, 799).map("1987/{}".format),
    "short words": st.integers(7000, 7999).map("P{}a".format),
    "blanks": st.integers(7000, 7999).map("AB {} x".format),
    "umlauts": st.integers(7000, 7999).map("Ä {}".format),
}
WORDS = st.sampled_from("opted out by letter formerly now und and or Nr. Patientin Müller 患者 objected moved".split())
SIGNS = st.text(
    st.sampled_from(" /\\&+-–—_.:;|()[]{}<>~*#=!?、，；。'’“”«»\u200b\u00a0\u00ad…·•→²№"), min_size=1, max_size=4
)
BETWEEN = st.one_of(SIGNS, st.tuples(SIGNS, WORDS, SIGNS).map(lambda some: f" {''.join(some)} "))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(list(KINDS)))
def test_whatever_stands_around_the_numbers_all_whom_a_list_names_are_out(data: st.DataObject, kind: str) -> None:
    here = data.draw(st.lists(KINDS[kind], min_size=2, max_size=8, unique=True))
    named = data.draw(st.lists(st.sampled_from(here), min_size=1, max_size=4, unique=True))
    line = data.draw(BETWEEN) + "".join(one + data.draw(BETWEEN) for one in named)
    rows = {
        "one column": f"patient\n{line}\n",
        "the first of two": f'patient,why\n"{line}",by letter\n',
        "the last of two": f'why,patient\n"{line}",\n',
    }
    for what, text in rows.items():
        assert set(named) <= found(text, *here).patients, what
        assert found(text, *(set(here) - set(named))).patients == frozenset(), what


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text("10.,-/ eE+A'②", max_size=9), max_size=4), st.sets(st.text("10.-/eEA ", max_size=5), max_size=6)
)
def test_one_more_patient_here_brings_nobody_back(lines: list[str], here: set[str]) -> None:
    """Whatever the list and the numbers are, and each line that is a number is that patient."""
    text = "patient\n" + "\n".join(lines) + "\n"
    whole = found(text, *here).patients
    assert {one for one in here if one.strip() and one in lines} <= whole
    for one in here:
        assert found(text, *(here - {one})).patients <= whole


def test_a_number_that_is_written_into_another_column_is_out_from_the_next_round_on(tmp_path: Path) -> None:
    folder = ward(tmp_path, *NUMBERS)
    (tmp_path / "list.csv").write_text("patient_id,why\n10003,by letter\n")
    site = Site(folder, STUDY, tmp_path / "run")
    assert patients_of(site) == set(NUMBERS) - {"10003"}
    (tmp_path / "list.csv").write_text("patient_id,why\n10003,by letter; and 10004\n")
    site.refresh()
    assert patients_of(site) == set(NUMBERS) - {"10003", "10004"}
    assert "1 patient by another number in a line (line 2)" in site.cohort.opt_outs


def test_who_is_named_beside_another_is_in_no_cache_also_when_no_table_has_them_now(tmp_path: Path) -> None:
    folder, cache = ward(tmp_path, *NUMBERS), tmp_path / "state" / "cache"
    pseudonym = site_secret(tmp_path / "state").pseudonym("10001")
    other = study_of({"modalities": {"labs": {"kind": "record", "numeric": {"pulse": {"low": 0, "high": 300}}}}})
    prepare(folder, other)
    assert any(pseudonym in index.read_text() for index in cache.glob("*/*/index.json"))
    folder = ward(tmp_path, *(number for number in NUMBERS if number != "10001"))
    write_list(tmp_path, "30000 / 10001")
    with pytest.raises(DataError, match="0 found here"):
        prepare(folder, STUDY)
    assert not any(pseudonym in index.read_text() for index in cache.glob("*/*/index.json"))


def test_the_time_grows_with_the_lines_and_not_with_lines_by_patients() -> None:
    """Of each line's text, and where each line means thousands, as a spreadsheet damages them."""
    draw = random.Random(1)
    several = [str(draw.randrange(10**7, 10**8)) for _ in range(8000)]
    texts = {
        "remarks": [f"{draw.randrange(10**7, 10**8)} opted out by letter of 3 May" for _ in range(8000)],
        "shortened": [f"1.23457E+11 or {number}" for number in range(8000)],
        "in groups": [f"Nr. {one[:2]} {one[2:5]} {one[5:]} für Müller – schriftlich" for one in several[:2000]],
    }
    numbers = {
        "remarks": several,
        "in groups": several,
        "shortened": [str(123456700000 + number) for number in range(8000)],
    }
    for what, lines in texts.items():
        began = time.process_time()
        found("patient\n" + "\n".join(lines) + "\n", *numbers[what])
        assert time.process_time() - began < 6, what  # about 1; each line by each patient takes minutes
