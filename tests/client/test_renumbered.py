"""A hospital that writes its patients' numbers otherwise is told that nothing holds which was kept of them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from client.consent.approvals import Approvals
from client.data.prepare import prepare
from client.exact_sums.cut import Cut, cut_of
from client.exact_sums.cuts import asked_about, opening
from client.exact_sums.renumbered import said_of_unknown
from client.preflight import preflight
from client.round.session import Site
from client.site import SiteFolder, read_site
from common.study import Study
from tests.client.data.test_opt_outs import NUMBERS, STUDY, ward, write_list

WORDS = "are not in the target's file now"


def cut(folder: SiteFolder, study: Study) -> Cut:
    return cut_of(prepare(folder, study), study.names)


@pytest.fixture
def opened(tmp_path: Path) -> SiteFolder:
    """A hospital whose exact sums of twenty patients are out."""
    folder = ward(tmp_path, *(f"0{one}" for one in NUMBERS))
    Approvals(tmp_path / "state").approve(STUDY)
    opening(tmp_path / "state", STUDY.digest, cut(folder, STUDY), 10)
    return folder


def told(folder: SiteFolder) -> list[str]:
    checks = [check.sentence for check in preflight(read_site(folder.root)) if check.what.startswith("data ")]
    return [sentence for sentence in checks if WORDS in sentence]


def test_numbers_that_lost_a_zero_are_told_at_check_and_in_the_log(opened, tmp_path, caplog) -> None:
    """Who cut these patients otherwise was asked about; of the same patients under other numbers nobody is."""
    other = replace(STUDY, split=replace(STUDY.split, key="another"))
    assert asked_about(tmp_path / "state", other.digest, cut(opened, other)) > 0 and not told(opened)
    ward(tmp_path, *NUMBERS)
    assert asked_about(tmp_path / "state", other.digest, cut(opened, other)) == 0
    (said,) = told(opened)
    assert said.startswith("Of 20 patients whose exact sums are out, 20 are not")
    with caplog.at_level(logging.WARNING, "wardround.site"):
        assert len(Site(opened, STUDY, tmp_path / "state").cohort.sides) == 20
    assert WORDS in caplog.text and not any(number in caplog.text for number in NUMBERS)


@pytest.mark.parametrize(("here", "out", "is_told"), [(20, 0, False), (10, 0, False), (9, 0, True), (20, 10, False)])
def test_it_is_told_where_most_are_unknown(opened, tmp_path, here, out, is_told) -> None:
    """Also beside new ones; who opted out is unknown like who left."""
    numbers = [f"0{one}" for one in NUMBERS]
    new = [f"2{one}" for one in NUMBERS]
    ward(tmp_path, *numbers[:here], *new)
    write_list(tmp_path, *numbers[:out])
    assert bool(said_of_unknown(tmp_path / "state", prepare(opened, STUDY))) == is_told


def test_it_is_told_also_after_rounds_under_the_new_numbers(opened, tmp_path) -> None:
    """A round made them known, and no more than half were unknown then; it is told until the old numbers are back."""
    ward(tmp_path, *NUMBERS)
    for _ in range(3):
        opening(tmp_path / "state", STUDY.digest, cut(opened, STUDY), 10)
        assert said_of_unknown(tmp_path / "state", prepare(opened, STUDY)).startswith("Of 40 patients")
    ward(tmp_path, *(f"0{one}" for one in NUMBERS))
    assert not said_of_unknown(tmp_path / "state", prepare(opened, STUDY))
    opening(tmp_path / "state", STUDY.digest, cut(opened, STUDY), 10)
    assert not said_of_unknown(tmp_path / "state", prepare(opened, STUDY))
