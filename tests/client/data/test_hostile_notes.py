"""A note made to take long: the gate's time grows with its length, and what is longer than a bound is left out.

One patient's note must not keep a site's worker for hours. Texts are repeats, each for a rule that might look at the
same row of signs again and again; CPU time is compared with that of a quarter of the text.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from client.data import second_look
from client.data.case import Identifier
from client.data.identifiers import of_cell, place_pieces
from client.data.losses import losses
from client.data.notes import LONGEST, LONGEST_IDENTIFIER
from client.data.prepare import prepare
from client.data.scrub import scrub
from client.data.second_look import residue
from client.site import read_site
from common.study import Study
from tests.support.hospital import hospital, person, study_of, write_csv
from tests.support.scripted import PRIVATE

KNOWN = (
    Identifier("NAME", "Müller-Lüdenscheidt^Anna Maria"),
    Identifier("NAME", "XiaoDong Mai Das"),
    Identifier("NAME", "刘彬"),
    Identifier("DATE", "1950-03-04"),
    Identifier("ID", "MRN-704000"),
    Identifier("ID", "+49 551 3940001"),
    Identifier("ID", "a1b2"),
    Identifier("PLACE", "Lange Strasse 12, 37073 Göttingen"),
    Identifier("EMAIL", "p1@post.example"),
)
QUADRATIC = ["a-", "i ", "D-", "mrn"]
UNITS = (
    "mrn-|das |fourth march 2001 |16.3 |704000|a|A|1|0|1 |1/|1.|1,|00 |+1 |(|a.|a@|a.a@|@|a_|-| |'|a\n|a |A. |M. |"
    "[NAME] |[NAME]|[NAME] A.|Dr. |Dr |Mr A |Patient |van |Vanvan |12 Main |1 A |Ab |12 Ab |MRN |mrn:|case |acc #|"
    "case:|born |born.|born on |x|dob 1 |1 Jan |Jan |1 of |May |mai |3/4/|3.4.|1950-|twenty |twenty-|vingt et |der |"
    "1 of of |4_|12_of_|ix |年|月|一|十|1月|刘 |刘|高|高血|张·|\0|\n|tel |tel.|tel 1 |tel:#|055 |055-|http://|www.|1.2.|123-|"
    "123-45-|a1-|AA-|90 |90-|strasse |weg 1 |aweg|a'|a’|?|ü|u\u0308|\u0308|\u200b|Müller-|m-u-|müller |müllermüller|"
    "m ü l l e r |l e t |M\n|d a s |märz |m.|a(at)|a [at] a|-\n|a-\n|·|(1) |_|Herr |Name: |Signed by |A'|Dr. med. |"
    "4/3/2001 |mrn704000 |mã¼ller"
).split("|")
HEADS = ["mrn", "Dr", "1", "may", "born", "+1", "A", "case nr", "tel", "[NAME]", "0123", "twenty", "son", "90", "12 A"]
RUNS = [" ", "-", ".", "\n", "_", ":", "0", "of ", "van "]


def seconds(text: str) -> float:
    """CPU time of both looks, the second also at the text as it was."""
    second_look._seekers.cache_clear()
    start = time.process_time()
    clean, _ = scrub(text, KNOWN)
    residue(clean, KNOWN)
    residue(text, KNOWN)
    return time.process_time() - start


def grows_with_its_length(head: str, unit: str, signs: int) -> bool:
    """A quarter of the text is given a twentieth of a second at least, which noise does not reach."""
    texts = [(head + unit * signs)[:length] + "!" for length in (signs // 4, signs)]
    for _ in range(2):  # a busy machine disturbs one measurement, and a quadratic rule each
        short, long = map(seconds, texts)
        if long <= 8 * max(short, 0.02):
            return True
    return False


@pytest.mark.parametrize("unit", QUADRATIC)
def test_the_gates_time_grows_with_a_notes_length(unit: str) -> None:
    """Four times the text takes about four times as long; what looks again at each sign takes sixteen times."""
    head, unit = ("mrn", " ") if unit == "mrn" else ("", unit)
    assert grows_with_its_length(head, unit, 8_000)


@pytest.mark.soak
@pytest.mark.parametrize("head", ["", *HEADS])
def test_the_gates_time_grows_with_a_notes_length_whatever_is_repeated(head: str) -> None:
    units = RUNS if head else [*QUADRATIC, *UNITS]
    assert [unit for unit in units if not grows_with_its_length(head, unit, 20_000)] == []


@pytest.mark.parametrize(("letters", "before"), [("ж", ""), ("é", "aa")], ids=["second look", "first look"])
def test_a_long_name_and_a_row_of_marks_take_no_time(letters: str, before: str) -> None:
    """What a bad export leaves of the name, but for one mark: every division of the marks was tried, which took twenty
    seconds for 39 letters, and half as long again for each letter more.
    """
    name, note = Identifier("NAME", f"{before}{letters * 39}"), f"{before}{'?' * 38}x"
    start = time.process_time()
    scrub(note, [name])
    residue(note, [name])
    assert time.process_time() - start < 1
    for marks in (39, 60, 78):  # one or two a letter
        text = f"so {before}{'?' * marks} and"
        assert residue(text, [name]) == {"NAME"}
        assert not before or scrub(text, [name])[0] == "so [NAME] and"


def test_the_parts_of_an_address_are_found_in_a_time_that_grows_with_it() -> None:
    """A cell of an identity column: at a quadratic rule these took minutes."""
    start = time.process_time()
    for cell in ("a" * 200_000, "a1 " * 70_000, "市" * 200_000, "a市" * 50_000):
        place_pieces(cell + "1")
        of_cell(cell)
    assert time.process_time() - start < 5
    assert "沪太路" in place_pieces("上海市沪太路12号")


@pytest.mark.parametrize("private", [True, False], ids=["private", "open"])
def test_a_note_that_is_too_long_is_a_loss(tmp_path: Path, private: bool) -> None:
    """A note of the longest length is a case, one sign more is a loss with its reason; so is a name that is too long.
    Nobody else's note is touched.
    """
    hospital(tmp_path, 16)
    study = study_of(PRIVATE if private else {}, modalities=["labs", "report"])
    rows = {
        name: list(csv.DictReader((tmp_path / name).open(encoding="utf-8"))) for name in ("notes.csv", "patients.csv")
    }
    before = prepared(tmp_path, study)
    one, other, third = (person(number).patient for number in (0, 1, 2))

    def spoiled(extra: int) -> list[int]:
        lengths = {one: LONGEST + extra, other: LONGEST}
        notes = [row | {"text": "y" * lengths.get(row["patient_id"], 9)} for row in rows["notes.csv"]]
        name = "z" * (LONGEST_IDENTIFIER + extra)
        who = [row | ({"name": name} if row["patient_id"] == third else {}) for row in rows["patients.csv"]]
        write_csv(tmp_path / "notes.csv", notes)
        write_csv(tmp_path / "patients.csv", who)
        counts = prepared(tmp_path, study)
        lost = {loss.reason: loss.number for loss in losses(counts) if loss.what == "notes.report: patients"}
        return [lost.get(reason, 0) for reason in REASONS] + [counts["having"]]

    assert spoiled(0) == [0, 0, before["having"]]
    assert spoiled(1) == [1, 1, before["having"] - 2]


REASONS = (
    f"with notes of more than {LONGEST:,} signs",
    "with names or numbers in `identity` or headers that are too long",
)


def prepared(root: Path, study: Study) -> dict[str, int]:
    """What was counted, and how many patients have a note."""
    cohort = prepare(read_site(root), study)
    place = study.names.index("report")
    having = sum(int(part.present[:, place].sum()) for part in (cohort.train, cohort.validation, cohort.test))
    return {**cohort.counts, "having": having}
