"""What a private study's site answers does not hang on a patient: a coordinator that asks learns nothing but noise.

Everything goes through a real handler over a real folder of tables. Studies are the coordinator's to write, and each
of these attacks is a study, or a run, that differs in what it would be refused for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.consent.approvals import Approvals
from client.data.losses import losses
from client.data.prepare import prepare
from client.round.round import work
from common.messages import JoinReply, Refusal
from common.secure_sum.messages import Member
from tests.support.hospital import hospital, study_of, write_site
from tests.support.scripted import ME, PLAIN, PRIVATE
from tests.support.ward import (
    ANSWERED,
    LABS,
    ONE,
    OTHER,
    PATIENTS,
    Listed,
    Ward,
    bytes_in,
    cell,
    change,
    only,
    private,
)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    logging.getLogger("wardround.site").setLevel(logging.ERROR)


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
    from client.round.round import work

    ward = Ward(tmp_path, private({"secure_sum": {"max_cases": 2}}))
    site, plan = ward.sites[ME].site, ward.plan(asks=("statistics",), round=0)
    seen = []

    def huge(value: np.ndarray, sd: float) -> np.ndarray:
        seen.append(value.max())
        return value + 1e6

    monkeypatch.setattr("common.privacy.noise.noisy", huge)
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


def test_rows_prepared_for_a_private_study_serve_no_other(tmp_path: Path) -> None:
    """What is a gap there is an error elsewhere, also when the rows lie in the cache."""
    ward = Ward(tmp_path, private({}, "labs"), OF_A_PATIENT["a word that is no category"])
    assert not isinstance(ward.join(), Refusal)
    ward.study = replace(study_of(PLAIN, modalities=["labs"]))
    ward.sites[ME] = ward.start(ME)
    assert ward.join() == Refusal("data")


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


@pytest.mark.parametrize("value", ["12", "1e308"])
def test_a_value_that_no_sum_can_hold_is_not_told_by_a_sum_without_noise(tmp_path: Path, value: str) -> None:
    """A study of schema 0 may ask for a column from -1e308 to 1e308. Infinite by infinite was no number, which was made
    a 0 after the noise: two sums of 0 told that somebody has such a value.
    """
    wide = LABS | {"numeric": {"crp": {"low": -1e308, "high": 1e308}, "pulse": {"low": 20, "high": 220}}}
    ward = Ward(tmp_path, private({"modalities": {"labs": wide}}, "labs"), cell("records.csv", "CRP (mg/l)", value))
    assert isinstance(ward.join(), JoinReply)
    owners = dict.fromkeys(("shared", "labs"), ward.names)
    plan = ward.plan(asks=("statistics",), round=0, attempt=11, owners=owners)
    summand = work(plan, ward.sites[ME].site).summand
    moments = next(part.values for part in summand.parts if part.segment.name == "moments/labs")
    assert len(moments) == 6 and np.all(moments != 0)
