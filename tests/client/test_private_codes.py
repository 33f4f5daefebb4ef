"""What a private study's site answers does not hang on a patient: a coordinator that asks learns nothing but noise.

Everything goes through a real handler over a real folder of tables. Studies are the coordinator's to write, and each
of these attacks is a study, or a run, that differs in what it would be refused for.
"""

from __future__ import annotations

import codecs
import csv
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from client.consent.approvals import Approvals
from client.consent.policy import Gate
from client.data.cohort import Cohort
from client.data.losses import losses, told
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.swallowed import Numbers
from client.data.tables import read_table
from client.handlers import SiteHandler
from client.round import Site, work
from client.site import read_site
from client.standing import standing
from common.audit import Audit, OptOutsAccepted
from common.errors import DataError
from common.messages import JoinReply, Refusal, Reply
from common.secure_sum.messages import Member
from common.study import Study
from deploy.cli import commands
from tests.support.hospital import STUDY, hospital, person, study_of, write_csv, write_site
from tests.support.other_user import NOBODY, as_nobody, needs_root, open_folder
from tests.support.scripted import ME, NAMES, PLAIN, PRIVATE, Hospitals

Rows = list[dict[str, Any]]
LABS: dict[str, Any] = STUDY["modalities"]["labs"]
PATIENTS = 16
ANSWERED = ["RoundReply", "RevealReply"] * 2


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging.getLogger("wardround.site").setLevel(logging.ERROR)


def private(changes: dict[str, Any] | None = None, *names: str) -> Study:
    return study_of(PRIVATE | (changes or {}), modalities=list(names or ("labs", "genes")))


class Ward(Hospitals):
    """Four sites, of which this one has files. `spoil`: what stands in one of its patients' rows."""

    def __init__(self, folder: Path, study: Study, spoil: Callable[[Path], None] = lambda _: None, **policy: Any):
        self.root = folder / "files"
        hospital(self.root, PATIENTS)
        spoil(self.root)
        write_site(self.root, {"site": ME, "images": None, "notes": None, "policy": policy})
        super().__init__(folder / "states", study)

    def start(self, name: str) -> SiteHandler:
        if name != ME:
            return super().start(name)
        site = Site(read_site(self.root), self.study, self.folder / ME)
        return SiteHandler(site, gate=Gate(site, simulated=True), lifetime=self.lifetime)

    def join(self) -> Reply:
        return self.answer(ME, self.invitation(1))

    def round(self) -> list[str]:
        """The kinds of reply of this site when it is asked for statistics and scores, and to train; or the code of a
        refusal.
        """
        said = self.join()
        if isinstance(said, Refusal):
            return [said.code]
        first = self._sum(1, round=0, statistics=True, train=False)
        return first + self._sum(2, round=1, evaluate="validation")

    def _sum(self, number: int, **asked: Any) -> list[str]:
        sum = self.offered(number, **asked)
        replies = [self.answer(ME, self.round_request(sum))]
        self.masked(sum, [name for name in NAMES if name != ME])
        replies += [self.answer(ME, self.reveal_request(self.confirmed(sum)))]
        return [reply.code if isinstance(reply, Refusal) else type(reply).__name__ for reply in replies]


def change(root: Path, name: str, edit: Callable[[Rows], Rows]) -> None:
    with (root / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    write_csv(root / name, edit(rows))


def cell(name: str, column: str, value: str) -> Callable[[Path], None]:
    """One patient's cell, of the first row."""
    return lambda root: change(root, name, lambda rows: [rows[0] | {column: value}, *rows[1:]])


def only(keep: Callable[[dict[str, Any]], bool]) -> Callable[[Path], None]:
    return lambda root: change(root, "records.csv", lambda rows: [row for row in rows if keep(row)] or [empty(rows[0])])


def empty(row: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(row, "")


def bytes_in(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        content = (root / name).read_bytes()
        assert old in content
        (root / name).write_bytes(content.replace(old, new, 1))

    return spoil


ONE = person(0).patient
# What may stand in one patient's rows, or what one patient's coming or going may make of a cohort.
OF_A_PATIENT: dict[str, Callable[[Path], None]] = {
    "a word that is no category": cell("records.csv", "sex", "X"),
    "a number that is none": cell("records.csv", "pulse", "fast"),
    "a number that is not finite": cell("genes.csv", "TP53", "1e999"),
    "a target that is no class": cell("records.csv", "outcome", "unknown"),
    "two rows": lambda root: change(root, "records.csv", lambda rows: [rows[0], *rows]),
    "two rows that contradict each other": lambda root: change(
        root, "records.csv", lambda rows: [rows[0] | {"outcome": "dead"}, *rows]
    ),
    "a cell too many": bytes_in("records.csv", ONE.encode(), ONE.encode() + b",1"),
    "a quote that does not close": bytes_in("genes.csv", ONE.encode(), b'"' + ONE.encode()),
    "a quote inside a cell": bytes_in("genes.csv", ONE.encode(), b'"' + ONE.encode() + b'"x'),
    "another encoding": bytes_in("records.csv", ONE.encode(), "é".encode("latin-1")),
    "the only patients of a class are gone": only(lambda row: row["outcome"] == "dead"),
    "one patient is left": only(lambda row: row["patient_id"] == ONE),
    "nobody is left": only(lambda row: False),
    "a modality has gaps only": lambda root: change(
        root, "genes.csv", lambda rows: [row | dict.fromkeys(("TP53", "EGFR", "PTEN"), "") for row in rows]
    ),
    "a modality is of strangers": lambda root: change(
        root, "genes.csv", lambda rows: [row | {"patient_id": f"x{place}"} for place, row in enumerate(rows)]
    ),
}


COUNTED = list(OF_A_PATIENT)[:10]  # of these one patient's data is there and cannot be used


@pytest.mark.parametrize("what", ["nothing", *OF_A_PATIENT])
def test_a_private_round_is_answered_alike_whatever_one_patient_is(tmp_path: Path, what: str) -> None:
    """Joining, statistics, scores and training, and a sum that opens; the site sees in its counts what was lost."""
    ward = Ward(tmp_path, private(), OF_A_PATIENT.get(what, lambda _: None))
    assert ward.round() == ANSWERED
    assert signed(ward, 3) == ("genes", "labs")
    assert bool(losses(ward.sites[ME].site.cohort.counts)) == (what in COUNTED)


@pytest.mark.parametrize("what", ["a word that is no category", "a quote that does not close", "two rows"])
def test_without_privacy_the_site_refuses_them_with_one_code(tmp_path: Path, what: str, caplog: Any) -> None:
    """The same requests over the same files do reach the data. What it was stands in the site's own log."""
    logging.getLogger("wardround.site").setLevel(logging.WARNING)
    ward = Ward(tmp_path, study_of(PLAIN, modalities=["labs", "genes"]), OF_A_PATIENT[what])
    assert ward.join() == Refusal("data")
    assert "DataError" in caplog.text and ".csv" in caplog.text


def bisected(answers: Callable[[int], bool]) -> int:
    """The least number that is answered, as a coordinator would look for it."""
    low, high = 0, 64
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if answers(middle) else (middle, high)
    return high


def test_max_cases_does_not_count_a_sites_patients(tmp_path: Path) -> None:
    """Studies that differ in `secure_sum.max_cases`: which of them is refused was the exact count, and cost nothing."""

    def answered(bound: int, mode: dict[str, Any]) -> bool:
        ward.study = study_of(mode | {"secure_sum": {"max_cases": bound}}, modalities=["labs"])
        ward.sites[ME] = ward.start(ME)
        return not isinstance(ward.join(), Refusal)

    ward = Ward(tmp_path, private())
    assert bisected(lambda bound: answered(bound, PLAIN)) == PATIENTS  # there the sums themselves are exact
    assert bisected(lambda bound: answered(bound, PRIVATE)) == 1


def test_a_cohort_above_max_cases_is_summed_and_cut_after_the_noise(tmp_path: Path) -> None:
    study = private({"secure_sum": {"max_cases": 2}})
    ward = Ward(tmp_path, study)
    assert ward.round() == ANSWERED
    cohort = ward.sites[ME].site.cohort
    assert len(cohort.train) + len(cohort.validation) + len(cohort.test) == PATIENTS


def test_what_is_cut_has_its_noise_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut before, 10,000 patients would look like the bound plus noise; and nothing out of range is left to refuse."""
    from client import round as module
    from client.round import work

    ward = Ward(tmp_path, private({"secure_sum": {"max_cases": 2}}))
    site, plan = ward.sites[ME].site, ward.plan(statistics=True, train=False, round=0)
    seen = []

    def huge(value: np.ndarray, sd: float) -> np.ndarray:
        seen.append(value.max())
        return value + 1e6

    monkeypatch.setattr(module, "noisy", huge)
    done = work(plan, site)
    bounds = {segment.name: segment.bound for segment in done.layout.segments}
    assert max(seen) > 2  # the noise was asked for the true sums
    assert all((part.values == bounds[part.segment.name]).all() for part in done.summand.parts)


def test_a_category_that_a_study_leaves_out_does_not_tell_whether_anybody_has_it(tmp_path: Path) -> None:
    """One study a category: `f` is left out, and somebody is; `x`, whom nobody is, is put in."""
    wards = [
        Ward(
            tmp_path / str(place),
            private({"modalities": {"labs": LABS | {"categorical": {"sex": list(sexes)}}}}, "labs"),
        )
        for place, sexes in enumerate(("fm", "m", "xfm"))
    ]
    assert [ward.round() for ward in wards] == [ANSWERED] * 3
    lost = wards[1].sites[ME].site.cohort.counts["records.labs.sex: cells that are no category of the study"]
    assert 0 < lost < PATIENTS


@pytest.mark.parametrize("least", [PATIENTS, PATIENTS + 1])
def test_the_least_number_of_cases_is_no_code_of_a_private_study(tmp_path: Path, least: int) -> None:
    """`policy.minimum_cohort` with one patient more or less: a person looks at it at approval, and no request after."""
    assert Ward(tmp_path / "private", private(), minimum_cohort=least).round() == ANSWERED
    plain = Ward(tmp_path / "plain", study_of(PLAIN, modalities=["labs"]), minimum_cohort=least)
    assert isinstance(plain.join(), Refusal) == (least > PATIENTS)


def signed(ward: Ward, number: int = 1) -> tuple[str, ...]:
    return Member.from_bytes(ward.ask(ME, ward.invitation(number)).member).modalities


def test_modalities_are_signed_as_they_were_approved(tmp_path: Path) -> None:
    """Whatever came into site.yaml since, or went; and what came since is not used."""
    study = private()
    ward = Ward(tmp_path, study)
    Approvals(ward.folder / ME).approve(study, modalities=["labs"])
    assert signed(ward) == ("labs",)
    assert not ward.sites[ME].site.cohort.train.present[:, study.names.index("genes")].any()
    write_site(ward.root, {"site": ME, "images": None, "notes": None, "sequences": None})
    Approvals(ward.folder / ME).approve(study, modalities=["labs", "genes"])
    ward.sites[ME] = ward.start(ME)
    assert ward.round() == ANSWERED
    assert signed(ward, 3) == ("genes", "labs")


def test_a_file_that_is_none_still_refuses_with_that_code(tmp_path: Path) -> None:
    """No patient is the reason: a column is missing for all of them. Mended, the site takes part."""
    ward = Ward(tmp_path, private(), bytes_in("records.csv", b"pulse", b"puls"))
    assert ward.join() == Refusal("data")
    (ward.root / "records.csv").write_bytes((ward.root / "records.csv").read_bytes().replace(b"puls", b"pulse", 1))
    ward.sites[ME] = ward.start(ME)
    assert ward.round() == ANSWERED


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


def alike(one: Cohort, other: Cohort, names: Sequence[str]) -> bool:
    pairs = [(getattr(one, part), getattr(other, part)) for part in ("train", "validation", "test")]
    return all(np.array_equal(ours.inputs[name], theirs.inputs[name]) for ours, theirs in pairs for name in names)


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


def test_rows_prepared_for_a_private_study_serve_no_other(tmp_path: Path) -> None:
    """What is a gap there is an error elsewhere, also when the rows lie in the cache."""
    ward = Ward(tmp_path, private({}, "labs"), OF_A_PATIENT["a word that is no category"])
    assert not isinstance(ward.join(), Refusal)
    ward.study = replace(study_of(PLAIN, modalities=["labs"]))
    ward.sites[ME] = ward.start(ME)
    assert ward.join() == Refusal("data")


def listed(root: Path, *lines: str) -> None:
    (root / "list.csv").write_text("\n".join(["patient_id", *lines]) + "\n", encoding="utf-8")


class Listed(Ward):
    """This site has a list of opt-outs."""

    def __init__(self, folder: Path, study: Study, *lines: str, spoil: Callable[[Path], None] = lambda _: None):
        super().__init__(folder, study, spoil)
        listed(self.root, *lines)
        write_site(self.root, {"site": ME, "images": None, "notes": None, "exclusions": "list.csv"})
        self.sites[ME] = self.start(ME)


def test_whether_a_list_of_opt_outs_finds_a_patient_is_not_told(tmp_path, caplog) -> None:
    """A list of one finds nobody once that patient is here no longer: the code `data` told so, uncharged."""
    gone = only(lambda row: row["patient_id"] != ONE)
    assert Listed(tmp_path / "here", private(), ONE).round() == ANSWERED
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert Listed(tmp_path / "gone", private(), ONE, spoil=gone).round() == ANSWERED
    assert "LOOK AT THIS" in caplog.text and "1 listed, 0 found here" in caplog.text and ONE not in caplog.text
    assert any("LOOK AT THE OPT-OUTS" in line for line in standing(read_site(tmp_path / "gone" / "files")))


def test_without_privacy_such_a_list_still_stops_the_site(tmp_path) -> None:
    study = study_of(PLAIN, modalities=["labs", "genes"])
    assert Listed(tmp_path / "some", study, "x-1").round() == ["data"]
    assert Listed(tmp_path / "none", study, ONE).round() == ANSWERED


def taken_off(ward: Listed) -> None:
    """A person here takes off whom the list does not name, as it is typed."""
    done = CliRunner().invoke(commands, ["site", "exclusions", "--accept", "--yes", "--at", str(ward.root)])
    assert done.exit_code == 0, done.output


def test_who_was_left_out_stays_left_out_when_the_list_is_no_longer_in_order(tmp_path) -> None:
    """Or names them no more, until a person takes them off."""
    them = Listed(tmp_path, private(), ONE)
    pseudonym = site_secret(them.root / "state").pseudonym(ONE)
    for lines, there in ((), True), ((ONE,), False), (("x-1",), False), ((), False):
        listed(them.root, *lines)
        them.sites[ME] = them.start(ME)
        assert isinstance(them.join(), JoinReply)
        assert (pseudonym in them.sites[ME].site.cohort.sides) is there
    taken_off(them)
    them.sites[ME].site.refresh()  # before the next round, of an agent that goes on
    assert pseudonym in them.sites[ME].site.cohort.sides


def test_whether_one_patient_is_here_brings_nobody_else_back(tmp_path) -> None:
    """A list of ONE, after one that named twelve more: it is in order or finds nobody, as ONE is here or not. Without
    privacy the list in order is the only word.
    """
    others, cohorts = [person(number).patient for number in range(1, 13)], []
    for there in True, False:
        ward = Listed(tmp_path / str(there), private({}, "labs"), ONE, *others)
        ward.join()
        if not there:
            only(lambda row: row["patient_id"] != ONE)(ward.root)
        listed(ward.root, ONE)
        ward.sites[ME] = ward.start(ME)
        assert ward.round() == ANSWERED
        cohorts.append(ward.sites[ME].site.cohort)
        assert len(cohorts[-1].sides) == PATIENTS - 13
    assert "exclusions: 12 patients whom an earlier list named" in " ".join(told(cohorts[0].counts))
    assert bool(cohorts[0].doubt) < bool(cohorts[1].doubt)
    plain = prepare(read_site(tmp_path / "True" / "files"), study_of(PLAIN, modalities=["labs"]))
    assert len(plain.sides) == PATIENTS - 1


OTHER = person(1).patient
# What a row or a line of the list may hold in place of a patient's number, and a library refuses to read as a number.
NO_NUMBERS = {
    "4301 figures": "7" * 4301,
    "raised figures": "²" * 5000,
    "zeros": "0" * 5000,
    "an exponent": "7" * 5000 + "e9",
}


@pytest.mark.parametrize("odd", NO_NUMBERS)
def test_a_number_longer_than_python_reads_is_a_number_of_nobody(tmp_path: Path, odd: str) -> None:
    """In one patient's row, and in a line of the list of opt-outs. The line without it is answered too."""
    row, line = cell("records.csv", "patient_id", NO_NUMBERS[odd]), NO_NUMBERS[odd]
    assert Listed(tmp_path / "row", private(), OTHER, spoil=row).round() == ANSWERED
    assert Listed(tmp_path / "line", private(), OTHER, line).round() == ANSWERED
    both = Listed(tmp_path / "both", private(), OTHER, line, spoil=row)
    assert both.round() == ANSWERED
    assert len(both.sites[ME].site.cohort.sides) == PATIENTS - 2  # who is listed so is left out so


def test_a_figure_that_is_no_digit_is_no_number(tmp_path: Path) -> None:
    """Ethiopic figures pass `isdigit`, and `decimal` reads none; a line as a spreadsheet shortens it is compared."""
    row = cell("records.csv", "patient_id", "፩፪፫")
    assert Listed(tmp_path, private(), OTHER, "1.23457E+11", spoil=row).round() == ANSWERED


def test_a_note_of_numerals_is_a_note(tmp_path: Path) -> None:
    """The second look read a row of them as one number, and without privacy the whole site stopped."""
    folder, odd = hospital(tmp_path, PATIENTS), f"{'一' * 5000}，{'九' * 5000}十"
    change(tmp_path, "notes.csv", lambda rows: [rows[0] | {"text": odd}, *rows[1:]])
    for mode in (PRIVATE, PLAIN):
        counts = prepare(folder, study_of(mode, modalities=["report"])).counts
        assert counts["notes.report: patients"] and not any("failed" in what for what in counts)


# A line of the list that names ONE and is no row, and its neighbour OTHER; the list's first line.
ODD_LINES = {
    "a comma in a remark": ("patient_id,remark", f"{OTHER},by letter", f"{ONE},by letter, 3 May"),
    "a cell too few": ("remark,patient_id", f"by letter,{OTHER}", ONE),
    "an open quote": ("patient_id", f'"{ONE}', OTHER),
    "an open quote before a closed one": ("patient_id", f'"{ONE}', f'"{OTHER}"'),
    "an open quote that a later one closes": ("patient_id", f'"{ONE}', f'{OTHER}"'),
    "text after a quote": ("patient_id", OTHER, f'"{ONE}" (moved)'),
    "an open quote in a remark that the neighbour's closes": (
        "patient_id,remark",
        f'{ONE},"by letter',
        f'{OTHER},by letter"',
    ),
    "an open quote in a remark that the neighbour's two close": (
        "patient_id,remark",
        f'{ONE},"by letter',
        f'{OTHER},"',
        'by letter, 3 May"',
    ),
    "a remark of two lines": ("remark,patient_id", '"by letter,', f'3 May",{ONE}', f"by letter,{OTHER}"),
    "a page's end in a line": ("patient_id", f'"{ONE}\x0c{OTHER}"'),
    "an open quote in a remark": ("patient_id,remark", f'{ONE},"by letter', f"{OTHER},by letter"),
}


@pytest.mark.parametrize("odd", ODD_LINES)
def test_an_odd_line_of_the_list_stops_no_private_study_and_leaves_out_whom_it_names(tmp_path, odd, caplog) -> None:
    """Both are out, the people here are told, and a study without privacy stops until somebody has looked."""
    heading, *lines = ODD_LINES[odd]
    ward = Listed(tmp_path, private({}, "labs"), ONE, OTHER)
    (ward.root / "list.csv").write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.round() == ANSWERED
    secret, sides = site_secret(ward.root / "state"), ward.sites[ME].site.cohort.sides
    assert len(sides) == PATIENTS - 2 and not {secret.pseudonym(one) for one in (ONE, OTHER)} & sides.keys()
    assert "cannot be read for certain (line" in caplog.text and ONE not in caplog.text
    with pytest.raises(DataError, match="site exclusions --accept"):
        prepare(read_site(ward.root), study_of(PLAIN, modalities=["labs"]))


def test_whom_an_odd_line_names_is_out_also_before_the_list_was_ever_in_order(tmp_path) -> None:
    ward = Listed(tmp_path, private({}, "labs"), OTHER, f'"{ONE}')
    assert isinstance(ward.join(), JoinReply)
    assert site_secret(ward.root / "state").pseudonym(ONE) not in ward.sites[ME].site.cohort.sides


def damaged(encoding: str, *bytes_: bytes) -> bytes:
    """A list in which ONE's line has a byte too many, or its end has lost one of its two."""
    marked = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE
    line, end = ONE.encode(encoding), "\n".encode(encoding)
    rest = "\n".join(person(number).patient for number in range(1, 8)).encode(encoding)
    return marked + "patient_id\n".encode(encoding) + line + b"".join(bytes_ or [end]) + rest


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_stray_byte_in_one_line_of_the_list_loses_no_other_line(tmp_path, encoding) -> None:
    """Seven objected in the lines behind it. A person is asked to look; whole, the list is in order."""
    secret, end = site_secret(tmp_path / "files" / "state"), "\n".encode(encoding)
    for bytes_ in ((), (b"x", end), (b"\xff", end), (end[:1],), (end[1:],), (b"\n", end), (b"x", end, b"y", end)):
        ward = Listed(tmp_path, private({}, "labs"))
        (ward.root / "list.csv").write_bytes(damaged(encoding, *bytes_))
        ward.sites[ME] = ward.start(ME)
        assert isinstance(ward.join(), JoinReply)
        cohort = ward.sites[ME].site.cohort
        assert not {secret.pseudonym(person(number).patient) for number in range(1, 8)} & cohort.sides.keys(), bytes_
        assert bool(cohort.doubt) == bool(bytes_)
        shutil.rmtree(tmp_path / "files")


def looked(ward: Listed) -> frozenset[str]:
    """Who of the two is in the cohort as the files are now."""
    ward.sites[ME] = ward.start(ME)
    assert isinstance(ward.join(), JoinReply)
    sides, secret = ward.sites[ME].site.cohort.sides, site_secret(ward.root / "state")
    return frozenset(one for one in (ONE, OTHER) if secret.pseudonym(one) in sides)


def test_who_was_left_out_stays_left_out_when_an_export_was_without_them(tmp_path) -> None:
    """An export without ONE, while OTHER keeps the list in order; then ONE is back, and the list is in doubt."""
    ward = Listed(tmp_path, private({}, "labs"), ONE, OTHER)
    whole = (ward.root / "records.csv").read_bytes()
    assert looked(ward) == frozenset()
    only(lambda row: row["patient_id"] != ONE)(ward.root)
    assert looked(ward) == frozenset()
    (ward.root / "records.csv").write_bytes(whole)
    listed(ward.root, "x-1")
    assert looked(ward) == frozenset()
    listed(ward.root, OTHER)  # in order, ONE is here and it does not name ONE
    assert looked(ward) == frozenset()
    taken_off(ward)
    assert looked(ward) == {ONE}
    listed(ward.root, "x-1")
    assert looked(ward) == {ONE}


@pytest.mark.parametrize("lines", [(ONE, OTHER), ()], ids=["two left out", "nobody left out"])
@pytest.mark.parametrize("now", [(ONE,), ("x-1",)], ids=["in order", "in doubt"])
def test_under_another_key_of_pseudonyms_a_site_stops_for_a_person(tmp_path, caplog, lines, now) -> None:
    """Who was left out, whether anybody was, and whom the list finds now is no reason."""
    ward = Listed(tmp_path, private({}, "labs"), *lines)
    looked(ward)
    (ward.root / "state" / "pseudonym.key").unlink()
    listed(ward.root, *now)
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.join() == Refusal("data")
    assert "another pseudonym.key" in caplog.text and "site exclusions --accept" in caplog.text
    taken_off(ward)
    assert looked(ward) == {ONE, OTHER}.difference(now)


@pytest.mark.parametrize("lost", ["deleted", "put back", "deleted with its key", "damaged"])
def test_a_file_of_who_was_left_out_that_was_deleted_or_put_back_is_refused_in_words(tmp_path, caplog, lost) -> None:
    """Before, whoever objected was back in silence while the list was in doubt."""
    ward = Listed(tmp_path, private({}, "labs"), OTHER)
    looked(ward)
    kept = ward.root / "state" / "opted_out.json"
    older = kept.read_bytes()
    listed(ward.root, ONE, OTHER)
    looked(ward)
    listed(ward.root, "x-1")
    assert looked(ward) == frozenset()
    newest = kept.read_bytes()
    match lost:
        case "put back":
            kept.write_bytes(older)
        case "damaged":
            kept.write_bytes(newest[:-9])
        case _:
            kept.unlink()
    if lost == "deleted with its key":
        (ward.root / "state" / "pseudonym.key").unlink()
    ward.sites[ME] = ward.start(ME)
    with caplog.at_level(logging.WARNING, logger="wardround.site"):
        assert ward.join() == Refusal("data")
    assert "opted_out.json" in caplog.text and "site exclusions --accept" in caplog.text and ONE not in caplog.text
    assert any("opted_out.json" in line for line in standing(read_site(ward.root)))
    if lost != "deleted with its key":
        kept.write_bytes(newest)
        assert looked(ward) == frozenset()
        kept.unlink()
    listed(ward.root, ONE)
    taken_off(ward)
    assert looked(ward) == {OTHER}
    *_, last = (record.event for record in Audit(ward.root / "state" / "audit.jsonl").events())
    assert isinstance(last, OptOutsAccepted) and last.number == 1


_IMPORTS = """
import json, pathlib, sys, tempfile
from client.data.prepare import prepare
from client.data.statistics import statistic_sums
from client.site import read_site
from tests.support.hospital import hospital, study_of
from tests.support.scripted import PRIVATE
study = study_of(PRIVATE, modalities=["labs", "xray", "report"])
notes = study_of(PRIVATE, modalities=["report"])
with tempfile.TemporaryDirectory() as warm:  # what is loaded late is loaded before the user is changed
    prepare(hospital(pathlib.Path(warm), 16), study, at_work=True)
"""
_COUNTS = """
print(json.dumps([prepare(read_site(pathlib.Path(one)), study, at_work=True).counts for one in sys.argv[1:]]))
"""
_SUMS = """
cohorts = [prepare(read_site(pathlib.Path(one)), notes, at_work=True) for one in sys.argv[1:]]
print(json.dumps([{name: sums.tolist() for name, sums in statistic_sums(notes, one).items()} for one in cohorts]))
"""


@needs_root
def test_a_patients_images_that_may_not_be_read_are_a_loss() -> None:
    """Prepared by another user, to whom one patient's folder, or one file of it, is closed. Counted, and the rest is
    there, all notes among it.
    """
    with open_folder() as root:
        for what in ("whole", "folders", "entries"):
            written(root / what)
        for one in (root / "folders" / "images").iterdir(), (root / "entries" / "images").rglob("*"):
            close(sorted(path for path in one if path.is_dir() == ("folders" in path.parts))[0])
        places = [str(root / what) for what in ("whole", "folders", "entries")]
        whole, *torn = json.loads(as_nobody(_COUNTS, *places, imports=_IMPORTS).splitlines()[-1])
    assert not losses(whole)
    for what, counts in zip(("folders", "entries"), torn, strict=True):
        assert counts[f"images.xray: {what} that cannot be read"] == 1 < counts[f"images.xray: {what}"]
        assert 1 in [loss.number for loss in losses(counts) if loss.reason == "that cannot be read"]
        assert 1 < counts["images.xray: patients"] <= whole["images.xray: patients"]
        assert {place for place in counts if place.startswith("notes.report: patients")} == {"notes.report: patients"}


@needs_root
@pytest.mark.parametrize("named", [True, False], ids=["identity", "headers"])
def test_one_patients_folder_that_may_not_be_read_takes_nobody_elses_note(named: bool) -> None:
    """A study of notes, at a site whose files of `identity`, or whose headers alone, say who patients are. One patient
    more, of whom there is a folder that nobody may enter, changes no sum; the notes of those without images are in it
    where `identity` names them, and else never.
    """
    with open_folder() as root:
        for what in ("without", "with"):
            written(root / what, {} if named else {"identity": None})
        (root / "with" / "images" / "one_more").mkdir()
        close(root / "with" / "images" / "one_more")
        places = str(root / "without"), str(root / "with")
        without, with_it = json.loads(as_nobody(_SUMS, *places, imports=_IMPORTS).splitlines()[-1])
    assert with_it == without
    assert without["present"] == [12 if named else 8]  # of 16: every fourth has no note, every third no image


def written(root: Path, site: dict[str, Any] | None = None) -> None:
    root.mkdir()
    hospital(root, PATIENTS, site=site)
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)


def close(path: Path) -> None:
    """To everybody but root."""
    os.chown(path, 0, 0)
    path.chmod(0o700)


@pytest.mark.parametrize(("levels", "name"), [(1_100, "a"), (40, "a" * 250)], ids=["deep", "long"])
@pytest.mark.parametrize("kind", ["xray", "report"])
def test_folders_of_a_patient_that_lie_too_deep_are_a_loss(tmp_path: Path, kind: str, levels: int, name: str) -> None:
    """Deeper than Python recurses, or longer than a path may be: the site answers as ever, and counts what it could not
    read. A study of notes reads the headers of the images too.
    """
    ward = Ward(tmp_path, private({}, "labs", kind))
    write_site(ward.root, {"site": ME})
    ward.sites[ME] = ward.start(ME)
    before = prepare(read_site(ward.root), ward.study)
    with deep(sorted((ward.root / "images").iterdir())[0], levels, name):
        after = prepare(read_site(ward.root), ward.study)
        assert isinstance(ward.join(), JoinReply)
    assert [len(part) for part in (after.train, after.test)] == [len(part) for part in (before.train, before.test)]
    if kind == "xray":
        assert after.counts["images.xray: folders that cannot be read"] == 1


@contextmanager
def deep(folder: Path, levels: int, name: str) -> Iterator[None]:
    here = Path.cwd()
    try:
        os.chdir(folder)
        for _ in range(levels):
            Path(name).mkdir()
            os.chdir(name)
        os.chdir(here)
        yield
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", str(folder / name)], check=True)  # `rmtree` recurses


@pytest.mark.parametrize("value", ["12", "1e308"])
def test_a_value_that_no_sum_can_hold_is_not_told_by_a_sum_without_noise(tmp_path: Path, value: str) -> None:
    """A study of schema 0 may ask for a column from -1e308 to 1e308. Infinite by infinite was no number, which was made
    a 0 after the noise: two sums of 0 told that somebody has such a value.
    """
    wide = LABS | {"numeric": {"crp": {"low": -1e308, "high": 1e308}, "pulse": {"low": 20, "high": 220}}}
    ward = Ward(tmp_path, private({"modalities": {"labs": wide}}, "labs"), cell("records.csv", "CRP (mg/l)", value))
    assert isinstance(ward.join(), JoinReply)
    owners = dict.fromkeys(("shared", "labs"), ward.names)
    plan = ward.plan(statistics=True, train=False, round=0, attempt=11, owners=owners)
    summand = work(plan, ward.sites[ME].site).summand
    moments = next(part.values for part in summand.parts if part.segment.name == "moments/labs")
    assert len(moments) == 6 and np.all(moments != 0)
