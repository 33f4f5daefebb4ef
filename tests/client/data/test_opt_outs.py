"""Whoever objected is out, however the list writes the number; an odd list is looked at by a person first."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from client.agent.agent import Agent
from client.consent.approvals import Approvals
from client.data.accepted import accept, is_accepted
from client.data.exclusions import found_here
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.round.session import Site
from client.site import SiteFolder, read_site
from common.errors import DataError
from common.messages import JoinReply, JoinRequest, Refusal, from_records, to_records
from common.record_bytes import from_bytes, to_bytes
from deploy.research.simulation.enrol import enrol
from tests.support.hospital import hospital, person, study_of, write_csv, write_site

RUN = "0123456789abcdef"
STUDY = study_of(modalities=["labs"])


def ward(root: Path, *patients: str) -> SiteFolder:
    """A hospital whose patients have these numbers, with a list of opt-outs that is still to be written."""
    rows = [
        {"patient_id": patient, "outcome": ["alive", "dead"][number % 2], "CRP (mg/l)": 3, "pulse": 80, "sex": "W"}
        for number, patient in enumerate(patients)
    ]
    write_csv(root / "records.csv", rows)
    folder = write_site(root, {"exclusions": "list.csv", "images": None, "notes": None, "sequences": None})
    write_list(root)
    return folder


def write_list(root: Path, *lines: str, encoding: str = "utf-8") -> None:
    (root / "list.csv").write_bytes("\n".join(["patient_id", *lines, ""]).encode(encoding))


NUMBERS = [str(number) for number in range(10000, 10020)]


def patients_of(site: Site) -> set[str]:
    """Who is in the cohort, by number: told apart by the pseudonyms in the cache, as training sees them."""
    secret, kept = site_secret(site.folder.root / "state"), ""
    _ = site.cohort
    for index in (site.folder.root / "state" / "cache").glob("*/*/index.json"):
        kept += index.read_text()
    return {patient for patient in NUMBERS if secret.pseudonym(patient) in kept}


FORMS = [
    "10000", "10000.0", "10000.", "10000,0", "010000", "00010000", "10000;opted out", "10000,opted out", "10000|x",
    "10000\topted out", "10000 opted out", "10000 (objected)", "10000 - 2024-05-01", "10000: yes", "1e4", "1E+04",
    "1.0000E+04", " 10000 ", "10 000", "１００００", "'10000'", "'10000", "\u200b10000", "10000\u00a0", "\ufeff10000",
    "\u202a10000\u202c", "+10000", "“10000”", "１００００；opted out", "٠١٠٠٠٠", "MRN 10000",
    "Patient-ID: 10000", "#10000",
]  # fmt: skip


@pytest.mark.parametrize("line", FORMS)
def test_whoever_objected_is_out_however_the_list_writes_the_number(tmp_path: Path, line: str) -> None:
    folder = ward(tmp_path, *NUMBERS)
    site = Site(folder, STUDY, tmp_path / "run")
    assert patients_of(site) == set(NUMBERS)
    write_list(tmp_path, line, "20000")
    site.refresh()  # before the next round
    assert patients_of(site) == set(NUMBERS) - {"10000"}
    found = found_here(folder)
    assert (len(found.near), len(found.here), found.listed) == (line.strip() != "10000", 1, 2)


@pytest.mark.parametrize(
    ("patient", "line"),
    [
        ("010000", "10000"),
        ("10000.0", "10000"),
        ("MRN-0704", "mrn-704"),
        ("SC/982783", "SC/982783.0"),
        ("P007", "p7;letter of May"),
        ("2019-001", "2019 - 1 objected"),
        ("AB 12", "ab12"),
        ("123456789012", "1.23457E+11"),
        ("Ä-17", "a\u0308-17"),
        ("SC-0704", "SC–0704"),
        ("SC-0704", "SC\u20110704, objected"),
        ("SC—0704", "sc-704"),
        ("12-345", "12−345"),
    ],
)
def test_the_hospital_s_own_table_may_be_the_one_that_is_damaged(tmp_path: Path, patient: str, line: str) -> None:
    folder = ward(tmp_path, patient, "X1", "X2", "X3")
    write_list(tmp_path, line)
    assert found_here(folder).patients == {patient}


def test_a_long_line_costs_no_more_than_its_length(tmp_path: Path) -> None:
    """20,000 characters of one line; before, 10,000 took eight seconds. Whom it names before its remark is out."""
    folder, began = ward(tmp_path, *NUMBERS), time.process_time()
    write_list(tmp_path, "10000 " + "a b c" * 4000, "a b c" * 4000)
    found = found_here(folder)
    assert found.patients == {"10000"} and found.doubtful == (3,)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_from_a_spreadsheet_is_read_with_its_mark(tmp_path: Path, encoding: str) -> None:
    folder = ward(tmp_path, *NUMBERS)
    write_list(tmp_path, "10000", encoding=encoding)
    assert found_here(folder).patients == {"10000"}


@pytest.mark.parametrize("line", ["1000", "100000", "1.0E+03", "10020", "0", "1e40"])
def test_another_patient_s_number_takes_nobody(tmp_path: Path, line: str) -> None:
    folder = ward(tmp_path, *NUMBERS)
    write_list(tmp_path, line)
    assert found_here(folder).patients == frozenset()


def test_a_near_miss_of_several_excludes_them_all(tmp_path: Path) -> None:
    folder = ward(tmp_path, "7", "07", "007", "8", "9", "10")
    write_list(tmp_path, "7.0")
    found = found_here(folder)
    assert found.patients == {"7", "07", "007"}
    assert found.said() == "1 listed, 1 found here, 1 by a near miss (line 2), 3 patients left out"


def test_lines_that_are_nobody_here_are_counted_and_not_refused(tmp_path: Path) -> None:
    folder = ward(tmp_path, *NUMBERS)
    write_list(tmp_path, *(f"{number};letter" for number in range(50000, 51201)), "10003", "10004", "010005")
    assert prepare(folder, STUDY).opt_outs == "1,204 listed, 3 found here, 1 by a near miss (line 1205)"


def test_a_patient_who_was_prepared_from_an_export_that_kept_the_zeros_is_forgotten_too(tmp_path: Path) -> None:
    folder, cache = ward(tmp_path, "010000", "10001", "10002", "10003"), tmp_path / "state" / "cache"
    other = study_of({"modalities": {"labs": {"kind": "record", "numeric": {"pulse": {"low": 0, "high": 300}}}}})
    prepare(folder, other)
    pseudonym = site_secret(tmp_path / "state").pseudonym("010000")
    assert any(pseudonym in index.read_text() for index in cache.glob("*/*/index.json"))
    folder = ward(tmp_path, "10000", "10001", "10002", "10003", "10004")
    write_list(tmp_path, "10000")
    prepare(folder, STUDY)
    assert not any(pseudonym in index.read_text() for index in cache.glob("*/*/index.json"))


def test_images_and_notes_of_a_near_miss_are_in_no_cache(tmp_path: Path) -> None:
    hospital(tmp_path)
    one = person(4)
    (tmp_path / "list.csv").write_text(f"patient_id\n{one.patient.lower().replace('-', ' -0')};objected\n")
    before = prepare(write_site(tmp_path), study_of())
    after = prepare(write_site(tmp_path, {"exclusions": "list.csv"}), study_of())
    sizes = [sum(map(len, (cohort.train, cohort.validation, cohort.test))) for cohort in (before, after)]
    assert sizes[0] - sizes[1] == 1
    pseudonym = site_secret(tmp_path / "state").pseudonym(one.patient)
    assert not any(pseudonym in one.read_text() for one in (tmp_path / "state" / "cache").glob("*/*/index.json"))


# ------------------------------------------------------------------------------------- a list that a person looks at

ODD = {
    "nobody": ["20000", "20001"],
    "a sentence": ["10000", "These patients objected in writing."],
    "a name": ["10000", "Müller, Anna"],
    "an encoding": ["10000", "p\ufffdtient"],
    "lost digits": ["10000", "1.23E+11"],
    "signs": ["10000", "???"],
}


@pytest.mark.parametrize("lines", ODD.values(), ids=list(ODD))
def test_an_odd_list_is_accepted_by_a_person_once_per_content(tmp_path: Path, lines: list[str]) -> None:
    folder, state = ward(tmp_path, *NUMBERS), tmp_path / "state"
    prepare(folder, STUDY)
    pseudonym = site_secret(state).pseudonym("10000")
    write_list(tmp_path, *lines)
    with pytest.raises(DataError, match="site exclusions --accept") as caught:
        prepare(folder, STUDY)
    if "10000" in lines:  # who is found is out of the cache all the same
        assert not any(pseudonym in index.read_text() for index in state.glob("cache/*/*/index.json"))
    assert not any(line in str(caught.value) for line in lines)
    accept(state, found_here(folder))
    assert prepare(folder, STUDY).opt_outs
    kept = (state / "exclusions.yaml").read_text()
    assert "format: 1" in kept and not any(line in kept for line in lines)
    write_list(tmp_path, *lines, "20009")
    with pytest.raises(DataError):
        prepare(folder, STUDY)


def test_an_empty_list_and_one_without_odd_lines_ask_nobody(tmp_path: Path) -> None:
    folder = ward(tmp_path, *NUMBERS)
    assert prepare(folder, STUDY).opt_outs == "0 listed, 0 found here"
    write_list(tmp_path, "10000", "20000", "ANON_A", "2019/17", "20001 opted out")
    assert prepare(folder, STUDY).opt_outs == "5 listed, 1 found here"


@pytest.mark.parametrize(
    "text", ["patient_id\n", "patient_id\n\n\n", 'patient_id\n""\n'], ids=["heading", "blank", "quotes"]
)
def test_a_list_that_is_empty_now_is_looked_at_by_a_person(tmp_path: Path, text: str) -> None:
    """An export that ended behind its first line brought everybody back who had objected, in silence."""
    folder, state = ward(tmp_path, *NUMBERS), tmp_path / "state"
    write_list(tmp_path, "10000", "10003")
    assert len(prepare(folder, STUDY, at_work=True).sides) == len(NUMBERS) - 2
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=r"0 found here\. It is empty, and earlier lists left patients out"):
        prepare(folder, STUDY, at_work=True)
    accept(state, found_here(folder))
    assert len(prepare(folder, STUDY, at_work=True).sides) == len(NUMBERS)


def test_what_a_newer_release_accepted_is_refused_as_newer(tmp_path: Path) -> None:
    folder, state = ward(tmp_path, *NUMBERS), tmp_path / "state"
    write_list(tmp_path, "20000")
    found = found_here(folder)
    accept(state, found)
    path = state / "exclusions.yaml"
    path.write_text(path.read_text().replace("format: 1", "format: 2"))
    with pytest.raises(DataError, match="newer release"):
        is_accepted(state, found)


def test_the_agent_s_site_does_no_work_until_the_list_is_accepted_and_logs_lines_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="wardround.site")
    folder = ward(tmp_path, *NUMBERS)
    state = tmp_path / "state"
    roster = enrol("trial", {"north": state, "south": tmp_path / "south", "east": tmp_path / "east"})
    Approvals(state).approve(STUDY)
    agent = Agent(folder)

    def join(number: int) -> Any:
        asked = JoinRequest(RUN, STUDY.digest, roster.digest.hex(), number)
        return from_records(from_bytes(agent.answer(to_bytes(to_records(asked)))))

    write_list(tmp_path, "20000", "20001")
    assert isinstance(join(1), Refusal)
    accept(state, found_here(read_site(tmp_path)))
    assert isinstance(join(1), JoinReply)
    write_list(tmp_path, "20000", "010007")
    assert isinstance(join(2), JoinReply)
    assert "2 listed, 1 found here, 1 by a near miss (line 3)" in caplog.text
    assert "10007" not in caplog.text and "20000" not in caplog.text
