"""Patients who opted out: in no sum, no case and no cache from the next round on, however the list is damaged."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.data import pixels
from client.data.accepted import accept
from client.data.cohort import Cohort
from client.data.exclusions import found_here, read_exclusions
from client.data.losses import told
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.statistics import statistic_sums
from client.round.session import Site
from client.site import SiteFolder, read_site
from common.errors import CohortError, DataError
from tests.support.hospital import hospital, person, study_of, write_csv, write_site

ALL = ("xray", "labs", "report", "genes")
TABLES = ("records.csv", "notes.csv", "genes.csv", "patients.csv")


def listed(root: Path, *patients: str, name: str = "exclusions.csv") -> SiteFolder:
    """site.yaml with a list of these patients."""
    (root / name).write_text("\n".join(["patient_id", *patients]) + "\n", encoding="utf-8")
    return write_site(root, {"exclusions": name})


def without(root: Path, *patients: str) -> SiteFolder:
    """The folder as if these patients had never been here; pseudonyms as before, for the secret stays."""
    for name in TABLES:
        with (root / name).open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["patient_id"] not in patients]
        write_csv(root / name, rows)
    return write_site(root)


def same_cases(one: Cohort, other: Cohort) -> bool:
    pairs = ((one.train, other.train), (one.validation, other.validation), (one.test, other.test))
    return one.version == other.version and all(
        torch.equal(a.target, b.target)
        and torch.equal(a.present, b.present)
        and all(torch.equal(a.inputs[name], b.inputs[name]) for name in a.inputs)
        for a, b in pairs
    )


def held(cache: Path) -> str:
    return "".join(path.read_text() for path in cache.glob("*/*/index.json"))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 15), min_size=1, max_size=6))
def test_sums_and_cases_are_those_of_a_folder_without_them(tmp_path_factory, numbers) -> None:
    root, study = tmp_path_factory.mktemp("site"), study_of(modalities=["labs", "genes"])
    hospital(root)
    patients = [person(number).patient for number in sorted(numbers)]
    excluded = prepare(listed(root, *patients), study)
    never = prepare(without(root, *patients), study, cache=root / "other")
    assert same_cases(excluded, never)
    sums, expected = statistic_sums(study, excluded), statistic_sums(study, never)
    assert sums.keys() == expected.keys()
    assert all(np.array_equal(sums[name], expected[name]) for name in sums)


def test_an_excluded_patient_is_in_no_modality_and_in_no_cache_of_any_study(tmp_path) -> None:
    hospital(tmp_path)
    whole = study_of()
    small = study_of({"modalities": {"labs": {"kind": "record", "numeric": {"pulse": {"low": 0, "high": 300}}}}})
    before, _ = prepare(write_site(tmp_path), whole), prepare(write_site(tmp_path), small)
    one, cache = person(4).patient, tmp_path / "state" / "cache"
    pseudonym = site_secret(tmp_path / "state").pseudonym(one)
    assert held(cache).count(pseudonym) >= 3
    after = prepare(listed(tmp_path, one), whole)
    assert pseudonym not in held(cache)  # the other study's entry, of another recipe, is gone too
    assert cases(before) - cases(after) == 1 and before.version != after.version and after.owned == ALL
    again = prepare(write_site(tmp_path, {"exclusions": "exclusions.csv"}), whole)
    assert same_cases(after, again)
    assert one not in held(cache)


def cases(cohort: Cohort) -> int:
    return len(cohort.train) + len(cohort.validation) + len(cohort.test)


def test_what_was_decoded_for_the_others_is_not_decoded_again(tmp_path, monkeypatch) -> None:
    hospital(tmp_path)
    study = study_of(modalities=["xray"])
    before = prepare(write_site(tmp_path), study)
    monkeypatch.setattr(pixels, "_decode", lambda *_: pytest.fail("decoded again"))
    assert cases(prepare(listed(tmp_path, person(0).patient), study)) == cases(before) - 1


def test_what_an_excluded_patient_s_rows_say_wrong_does_not_matter(tmp_path) -> None:
    hospital(tmp_path)
    one = person(3).patient
    rows = list(csv.DictReader((tmp_path / "records.csv").open(newline="", encoding="utf-8")))
    broken = [row | {"pulse": "many", "sex": "?!", "outcome": "unknown"} for row in rows if row["patient_id"] == one]
    write_csv(tmp_path / "records.csv", [*(row for row in rows if row["patient_id"] != one), *broken, *broken])
    study = study_of(modalities=["labs"])
    with pytest.raises(DataError):
        prepare(write_site(tmp_path), study)
    assert cases(prepare(listed(tmp_path, one), study)) == 15


def test_a_running_site_honours_a_patient_added_between_two_rounds(tmp_path) -> None:
    hospital(tmp_path)
    study = study_of(modalities=["labs"])
    site = Site(listed(tmp_path), study, tmp_path / "state")
    first = site.cohort
    site.refresh()
    assert site.cohort is first and cases(first) == 16  # nothing changed, nothing is prepared
    with (tmp_path / "exclusions.csv").open("a") as file:
        file.write(f"{person(5).patient}\n")
    assert site.cohort is first  # not in the middle of a round
    site.refresh()
    assert cases(site.cohort) == 15 and site.cohort.version != first.version
    (tmp_path / "exclusions.csv").write_text("patient_id\n")
    site.refresh()
    with pytest.raises(DataError, match="It is empty"):
        _ = site.cohort
    accept(tmp_path / "state", found_here(site.folder))
    assert same_cases(site.cohort, first)


@pytest.mark.parametrize("damage", ["gone", "folder", "empty", "headless", "not text", "torn quotes", "ragged"])
def test_a_list_that_cannot_be_read_stops_the_round_and_never_readmits_anybody(tmp_path, damage) -> None:
    hospital(tmp_path)
    one = person(5).patient
    site = Site(listed(tmp_path, one), study_of(modalities=["labs"]), tmp_path / "state")
    _ = site.cohort
    path = tmp_path / "exclusions.csv"
    path.unlink()
    match damage:
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "headless":
            path.write_text(f"{one}\n{person(6).patient}\n")
        case "not text":
            path.write_bytes(b"patient_id\n\xff\xfe\n")
        case "torn quotes":
            path.write_text(f'patient_id\n"{one}\n')
        case "ragged":
            path.write_text(f"patient_id,since\n{one},{one},2024\n")
    with pytest.raises(DataError) as caught:
        site.refresh()
        _ = site.cohort
    assert one not in str(caught.value) and person(6).patient not in str(caught.value)
    with pytest.raises(DataError):
        prepare(site.folder, site.study)


def test_too_few_left_is_refused_and_the_cache_forgets_them_all_the_same(tmp_path) -> None:
    hospital(tmp_path)
    study, everybody = study_of(modalities=["labs"]), [person(number).patient for number in range(16)]
    prepare(write_site(tmp_path), study)
    with pytest.raises(CohortError):
        prepare(listed(tmp_path, *everybody), study)
    assert held(tmp_path / "state" / "cache") == ""
    folder = listed(tmp_path, everybody[0])
    write_site(tmp_path, {"exclusions": "exclusions.csv", "policy": {"minimum_cohort": 16}})
    with pytest.raises(CohortError, match="minimum_cohort"):
        _ = Site(read_site(tmp_path), study, tmp_path / "state").cohort
    assert cases(prepare(folder, study)) == 15


def test_a_damaged_cache_entry_cannot_hide_a_patient(tmp_path) -> None:
    hospital(tmp_path)
    prepare(write_site(tmp_path), study_of(modalities=["labs"]))
    (index,) = (tmp_path / "state" / "cache").glob("labs/*/index.json")
    index.write_text("{")
    prepare(listed(tmp_path, person(0).patient), study_of(modalities=["genes"]))
    assert not index.exists()


def test_only_a_patient_who_is_here_is_left_out(tmp_path) -> None:
    """The list is the whole hospital's: its other lines are counted as lines, and are nobody who is left out."""
    hospital(tmp_path)
    cohort = prepare(listed(tmp_path, person(0).patient, "7040013", "0012"), study_of(modalities=["labs"]))
    assert cohort.opt_outs == "3 listed, 1 found here"
    assert [line for line in told(cohort.counts) if "exclusions" in line] == [
        "left out: exclusions: 1 patient who opted out"
    ]


@pytest.mark.parametrize("between", [",", ", ", ";", "; ", " | ", "\t", " / ", " und ", " ", "、"])
def test_patients_whom_somebody_wrote_in_one_line_are_all_left_out(tmp_path, between) -> None:
    """The first was, and the others were trained on, with no word of it."""
    hospital(tmp_path)
    several = [person(number).patient for number in range(3)]
    cohort = prepare(listed(tmp_path, between.join([*several, "by letter of 3 May"])), study_of(modalities=["labs"]))
    assert cohort.opt_outs.startswith("1 listed, 1 found here") and "3 patients left out" in cohort.opt_outs
    assert cases(cohort) == cases(prepare(without(tmp_path, *several), study_of(modalities=["labs"])))


def test_a_list_with_other_columns_and_separators_is_read_by_its_patient_column(tmp_path) -> None:
    hospital(tmp_path)
    folder = listed(tmp_path)
    (tmp_path / "exclusions.csv").write_text(
        "since;patient_id\n2026-01-01; A1 \n2026-01-02;B2\n\n", encoding="utf-8-sig"
    )
    assert {line for line in read_exclusions(folder) if not line.startswith("\0")} == {"A1", "B2"}


def test_no_patient_stands_in_a_repr(tmp_path) -> None:
    hospital(tmp_path)
    folder = listed(tmp_path, person(0).patient)
    site = Site(folder, study_of(modalities=["labs"]), tmp_path / "state")
    _ = site.cohort
    held_back = replace(folder, excluded=read_exclusions(folder))
    assert person(0).patient not in repr(site) + repr(held_back) + repr(site.cohort)
