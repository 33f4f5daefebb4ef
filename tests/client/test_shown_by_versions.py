"""What changes between two sums of a study hides nobody by whom one of them differs from another study's, or run's."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from client.data.cohort import Cohort
from client.data.recipe import Rules
from client.exact_sums.cut import cut_of
from client.exact_sums.cuts import allow, asked_about
from common.study import Study
from tests.client.test_shown_by_differences import (
    ALL,
    OTHER_RUN,
    STATISTICS,
    cohorts_of,
    hospitals,
    in_study,
    moved,
    sided,
)
from tests.client.test_shown_by_few import without_charts
from tests.support.scripted import ME, NAMES, cohort_of, normalised_study, refused

LATER = {"round": 1, "run": "e" * 16}


@pytest.mark.parametrize("from_the_start", [1, 10])
def test_a_run_without_charts_is_held_against_each_sum_with_them(tmp_path, from_the_start) -> None:
    """Nine more who have nothing but a chart came after the first sum: its difference from the last was one patient."""
    study = normalised_study()
    big = sided(cohort_of(study, ME, patients=40))
    big.train.present[:10, 1] = False
    keep = [*range(from_the_start), *range(10, 40)]
    sides = {one: side for one, side in big.sides.items() if side != "train" or int(one.split()[1]) in keep}
    few = replace(big, train=big.train.rows(keep), version="1" * 64, sides=sides)
    cohorts = cohorts_of(study) | {ME: few}
    cohorts["west"] = without_charts(cohorts["west"])
    them = hospitals(tmp_path, study, cohorts)
    charts = {**ALL, "chart": NAMES[:3]}
    first = them.summed(1, **STATISTICS, owners=charts)
    them = in_study(them, study, cohorts | {ME: big})
    them.summed(2, **LATER, owners=charts)
    them.cohorts = {**them.cohorts, "south": without_charts(them.cohorts["south"])}
    for name in ("secure_sum.db", "audit.jsonl", "cuts.json"):
        (tmp_path / "south" / name).unlink()
    them.sites["south"] = them.start("south")
    sum = them.offered(3, run=OTHER_RUN, **STATISTICS, owners={"shared": NAMES, "panel": NAMES})
    if from_the_start == 1:
        assert refused(them, ME, them.round_request(sum)) == "answered"
    else:
        assert (first["cases"] - them.opened(sum)["cases"])[0] == from_the_start


@pytest.mark.parametrize("from_the_start", [1, 10])
def test_a_side_is_counted_with_the_charts_of_each_sum(tmp_path, from_the_start) -> None:
    """One of ten who move had a chart in the first sum, and the others later: the moments of charts were this one's."""
    study = normalised_study()
    cohorts = cohorts_of(study)
    full = sided(cohort_of(study, "west", seed=30, patients=40))
    present = full.train.present.clone()
    present[from_the_start:10, 0] = False
    cohorts["west"] = replace(full, train=replace(full.train, present=present), version="1" * 64)
    them = hospitals(tmp_path, study, cohorts)
    them.summed(1, **STATISTICS)
    cohorts["west"] = full
    them = in_study(them, study, cohorts)
    them.summed(2, **LATER)
    other = replace(study, split=replace(study.split, key="another"))
    cohorts["west"] = moved(full, 10)
    them = in_study(them, other, cohorts)
    assert word(tmp_path / "west", cohorts["west"], other) == from_the_start
    sum = them.offered(3, run=OTHER_RUN, **STATISTICS, study=other.digest)
    if from_the_start == 1:
        assert refused(them, "west", them.round_request(sum)) == "answered"
    else:
        them.opened(sum)


@pytest.mark.parametrize("newest", [1, 10])
def test_a_third_study_lends_no_patients_to_the_first(tmp_path, newest) -> None:
    """What a study between had in test counted as if the first had: ten who did not differ hid the one who did."""
    base = normalised_study()
    one, between, other = (by_year(base, *years) for years in ((2020, 2022), (2020, 2021, 2022), (2020,)))
    years = [2019] * 30 + [2020] * 30 + [2021] * 10 + [2022] * newest
    big = sided(cohort_of(base, "west", seed=30, patients=len(years)))
    told = list[int]()
    opened = (one, 60), (between, len(years)), (one, len(years)), (other, len(years))
    for number, (study, known) in enumerate(opened, start=1):
        west = in_years(big, years[:known], study, version=str(number) * 64)
        them = hospitals(tmp_path, study, cohorts_of(study) | {"west": west})
        told.append(word(tmp_path / "west", west, study))
        sum = them.offered(number, run=f"{number:016x}", study=study.digest, **STATISTICS)
        if study is other and newest == 1:
            assert refused(them, "west", them.round_request(sum)) == "answered"
        else:
            them.opened(sum)
    assert told == [0, 0, 10, newest]


def word(state: Path, cohort: Cohort, study: Study) -> int:
    """Return how many a person at this site is told of, who then allows it."""
    cut = cut_of(cohort, study.names)
    told = asked_about(state, study.digest, cut)
    allow(state, study.digest, cut)
    return told


def by_year(study: Study, *test: int) -> Study:
    return replace(study, split=replace(study.split, column="year", test_values=[str(year) for year in test]))


def in_years(cohort: Cohort, years: Collection[int], study: Study, version: str) -> Cohort:
    """Those of the cohort, all of them training patients, who are of these years, split as the study says."""
    rows = cohort.train
    test = [place for place, year in enumerate(years) if str(year) in study.split.test_values]
    train = [place for place in range(len(years)) if place not in test]
    sides = {f"p{place}": "train" for place in train} | {f"p{place}": "test" for place in test}
    parts = {"train": rows.rows(train), "validation": rows.rows([]), "test": rows.rows(test)}
    return replace(cohort, sides=sides, version=version, rules=Rules(split="year"), **parts)
