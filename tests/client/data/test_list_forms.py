"""Writings of a patient's number that people, spreadsheets and word processors make: whoever is written so is out.

Each through a list of one column and of two. `99999999` is another patient here, so that the list is in order.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from tests.client.data.test_named import found
from tests.client.data.test_opt_outs import STUDY, ward, write_list
from tests.support.hospital import study_of
from tests.support.scripted import PRIVATE

OTHER = "99999999"
UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u3164\ufe00\ufe0e\ufe0f\uffa0\U000e0100\U000e01ef"
DASHES = "\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u30fc\ufe58\ufe63\uff0d\uff70"
FORMS = [
    (number, line) for sign in UNSEEN for number, line in (("10000", f"1{sign}0000"), ("SC-0704", f"SC-{sign}0704"))
]
FORMS += [("SC-0704", f"SC{dash}0704") for dash in DASHES]
FORMS += [
    # separators left out, put in, or others
    ("SC-0704", "SC0704"), ("SC0704", "SC-0704"), ("SC-0704", "SC 0704 "), ("SC-0704", "SC_0704"),
    ("SC-0704", "sc.704"), ("010190-1234", "0101901234"), ("0101901234", "010190-1234"),
    ("010190-0123", "0101900123"),
    ("7561234567897", "756.1234.5678.97"), ("756.1234.5678.00", "7561234567800"), ("7561234567800", "756.1234.5678.00"),
    ("123-45-6789", "123456789"), ("12345678909", "123.456.789-09"), ("9434765919", "943-476-5919"),
    ("550e8400-e29b-41d4-a716-446655440000", "550e8400e29b41d4a716446655440000"),
    ("550e8400e29b41d4a716446655440000", "{550E8400-E29B-41D4-A716-446655440000}"),
    ("2019-001", "2019/1"), ("2019/001", "2019 1"), ("10/2", "10\u20442"), ("1.2.276.0.76.3.1.4", "1 2 276 0 76 3 1 4"),
    ("1 " * 30 + "1", "1-" * 30 + "1"),
    # groups of figures behind words, and one number behind another
    ("9434765919", "NHS 943 476 5919"), ("9434765919", "NHS No: 943 476 5919 objected"),
    ("9434765919", "1) 943 476 5919"),
    ("9434765919", "9434765870 and 943 476 5919"), ("9434765919", "943 476 5870 / 943 476 5919"),
    ("9434765919", "MRN943 476 5919"), ("184127645108946", "NIR 1 84 12 76 451 089 46"),
    # letters joined to it
    ("10001", "10001x"), ("10001", "x10001"), ("1234567", "PIZ1234567"), ("9434765919", "NHS9434765919"),
    ("10000", "10000th"), ("P7001234", "KIS7001234P7001234x"),
    # thousands, and figures of which a spreadsheet keeps fifteen
    ("1234567", "12,34,567"), ("1234000", "12,34,000"), ("1234567", "١٬٢٣٤٬٥٦٧"), ("1234567", "1'234'567"),
    ("1234567890123456", "1234567890123450"), ("110101199003071234", "110101199003071000"),
    ("110101199003071234", "1.10101E+17"), ("110101199003071234", "110101199003071232"),
    ("110101199003071234", "1.1010119900307123e+17"), ("1234567890123457", "1234567890123460"),
    # letters that look so
    ("A1234", "\u04101234"), ("A1234", "\u03911234"), ("PX-17", "\u0440\u0445-17"), ("ID-1234", "\u0131d-1234"),
    ("ID-1234", "\u0130D-1234"), ("\u0410\u041d-17", "AH-17"), ("\u0410\u041d-17", "\u0430\u043d-17"), ("Ä-17", "A-17"),
    ("\u0391\u039d-17", "\u03b1\u03bd-17"), ("12345", "1\u03322345"),
]  # fmt: skip


def cells(line: str) -> tuple[str, str]:
    cell = f'"{line}"' if "," in line else line
    return f"patient\n{cell}\n{OTHER}\n", f"patient,why\n{cell},x\n{OTHER},y\n"


@pytest.mark.parametrize(("patient", "line"), FORMS, ids=ascii)
def test_whoever_is_written_in_another_form_is_out_and_named(patient: str, line: str) -> None:
    for text in cells(line):
        got = found(text, patient, OTHER)
        assert got.patients == {patient, OTHER} and got.near == (2,)
        assert found(text, OTHER).patients == {OTHER}


@pytest.mark.parametrize("row", ["A. Smith,943 476 5919", "20000,NHS 943 476 5919", ",943-476-5919", ",12,9434765919"])
def test_whom_another_column_names_in_groups_is_out(row: str) -> None:
    assert found(f"patient,number\n{row}\n{OTHER},\n", "9434765919", OTHER).patients == {"9434765919", OTHER}


def test_a_number_that_commas_tear_apart_is_found_in_the_whole_line() -> None:
    got = found(f"patient,why\n12,34,567,by letter\n{OTHER},\n", "1234567", OTHER)
    assert got.patients == {"1234567", OTHER} and got.odd == (2,)


DAYS = [
    ("3-05", "05. Mrz"), ("3-05", "5-Mar"), ("3-05", "05.03.2024"), ("3/5", "2024-03-05 00:00:00"), ("5-3", "3月5日"),
    ("2023-05", "May-23"), ("2023-05", "Mai 23"), ("2005-03", "Mrz 05"), ("1-2-03", "01.02.2003"), ("MAR1", "01. Mrz"),
    ("SEPT2", "2-Sep"), ("12-1987", "d\u00e9c-87"), ("3-05", "5 mars"),
    ("2023-05-01", "01.05.23"), ("2023-05-01", "5/1/23"), ("3-05", "05.03.26"), ("2-3-99", "99.03.02"),
]  # fmt: skip


@pytest.mark.parametrize(("patient", "line"), DAYS)
def test_whose_number_a_spreadsheet_made_a_day_of_is_out_and_a_day_of_nobody_is_looked_at(
    patient: str, line: str
) -> None:
    for text in cells(line):
        got = found(text, patient, OTHER)
        assert got.patients == {patient, OTHER} and got.near == (2,) and not got.to_be_accepted
        assert found(text, OTHER, "X-17").doubtful == (2,)


@pytest.mark.parametrize("between", [";", ",", "\t", "|", " ; ", " ", " - "])
@pytest.mark.parametrize("day", ["05. Mrz", "5-Mar", "05.03.26"])
def test_a_day_beside_a_remark_is_whose_number_it_was_made_of(day: str, between: str) -> None:
    """The whole line was held for the cell: nobody was found, and nobody was asked."""
    line = f"{day}{between}opted out"
    for text in (f"patient\n{line}\n{OTHER}\n", f'patient,why\n"{line}",x\n{OTHER},\n', f'patient\n"{line}\n{OTHER}\n'):
        assert found(text, "3-05", OTHER).patients == {"3-05", OTHER}
        none = found(text, OTHER, "X-17")
        assert none.patients == {OTHER} and none.to_be_accepted
    if not between.strip(" -"):
        return  # a day behind a number without a separator is none of a patient's (NOT_FOUND)
    for text in (f"patient\n{OTHER}{between}{day}\n", f'patient,why\n{OTHER},"{line}"\n'):
        got = found(text, "3-05", OTHER)
        assert got.patients == {"3-05", OTHER} and got.inside == (2,)


def test_a_day_with_hyphens_and_a_year_of_two_figures_is_sought_and_may_be_a_number() -> None:
    got = found(f"patient\n01-05-23\n{OTHER}\n", "2023-05-01", "01-05-23", "05-01-23", OTHER)
    assert got.patients == {"2023-05-01", "01-05-23", OTHER}
    assert found(f"patient\n01-05-23\n{OTHER}\n", "X-17", OTHER).doubtful == ()


@pytest.mark.parametrize(
    "line", ["MAR-123", "MAR12", "12/2023", "May", "2019/17", "31-12-99", "0.5.2023", "12.34.2023"]
)
def test_what_is_no_day_may_be_a_number_of_nobody(line: str) -> None:
    assert found(f"patient\n{line}\n{OTHER}\n", OTHER).doubtful == ()


def test_all_whose_numbers_a_form_cannot_tell_apart_are_out_and_named() -> None:
    got = found(f"patient\nSC0704\n1234567890123450\n{OTHER}\n", "SC-0704", "SC/704", "SC0704", "SC-0705", OTHER,
                "1234567890123450", "1234567890123456", "1234567890123466")  # fmt: skip
    assert got.patients == {"SC-0704", "SC/704", "SC0704", OTHER, "1234567890123450", "1234567890123456"}
    assert got.near == (2, 3) and "5 patients left out" not in got.said() and "6 patients left out" in got.said()


@pytest.mark.parametrize(
    ("patient", "line"),
    [("100000", "10000.0"), ("1000", "10.00"), ("10000", "1000"), ("10000", "100000"), ("SC-0704", "SC-7040"),
     ("O1", "01"), ("2019-001", "20191"), ("1234567890123456", "1234567890123440"),
     ("1234567890123456", "123456789012345")],
)  # fmt: skip
def test_another_number_is_nobodys(patient: str, line: str) -> None:
    assert found(f"patient\n{line}\n{OTHER}\n", patient, OTHER).patients == {OTHER}


NOT_FOUND = [
    ("1001", "1001x"), ("1001", "P1001"), ("O1", "01"), ("10001", "1000l"), ("A1234", "\u13aa1234"),
    ("2019-001", "20191"), ("3-05", "45356"), ("3-05", "5. ožujka"), ("3-05", "by letter of 5 Mar"),
    ("10003", "10001-10005"), ("199001011234", "900101-1234"), ("1987/701", "701/1987"), ("1234567", "一二三四五六七"),
    ("10000", "ten thousand and one"), ("10000", "&#49;0000"),
]  # fmt: skip


@pytest.mark.parametrize(("patient", "line"), NOT_FOUND)
def test_what_is_written_otherwise_finds_nobody(patient: str, line: str) -> None:
    """As SECURITY.md says: who finds a way here has to change that page."""
    assert found(f"patient\n{line}\n{OTHER}\n", patient, OTHER).patients == {OTHER}


@pytest.mark.parametrize("private", [False, True])
def test_whoever_is_written_so_is_in_no_cohort(tmp_path: Path, private: bool) -> None:
    """Through a whole preparation, in studies of both kinds."""
    several = {"SC-0704": "SC\u20130704", "9434765919": "9434765870 and 943 476 5919", "A1234": "\u04101234",
               "110101199003071234": "110101199003071000", "3-05": "05. Mrz"}  # fmt: skip
    others = [str(number) for number in range(70000, 70012)]
    folder = ward(tmp_path, *several, *others)
    study = study_of(PRIVATE, ["labs"]) if private else STUDY
    secret = site_secret(tmp_path / "state")
    assert len(prepare(folder, study, at_work=private).sides) == len(several) + len(others)
    write_list(tmp_path, *several.values())
    sides = prepare(folder, study, at_work=private).sides
    assert sides.keys() == set(map(secret.pseudonym, others))
