"""A patient who is on another side in the next run of the same study is charged on both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from client.charges import certified, charge
from client.round import Site
from client.sides import split_of
from common.errors import BudgetError, PrivacyError
from common.privacy.accounting import epsilon
from common.study import Study
from tests.support.hospital import hospital, study_of, write_csv
from tests.support.working import Ward

SPLIT = {"column": "part", "validation_values": ["v"], "test_values": ["t"]}
PRIVACY: dict[str, Any] = {"mode": "local", "epsilon": 30.0, "sample_rate": 0.3, "expected_batch_size": 8.0}


def column_study() -> Study:
    return study_of({"split": SPLIT, "privacy": PRIVACY, "rounds": 3}, ["labs"])


def parts(root: Path, patients: int, moved: int = 0) -> None:
    """Who is where: of every three the first trains; the first `moved` of them validate instead."""
    rows = [
        {"patient_id": f"MRN-{7040000 + 13 * number}", "part": "v" if number < moved else "xvt"[number % 3]}
        for number in range(patients)
    ]
    write_csv(root / "parts.csv", rows)


@pytest.fixture
def here(tmp_path: Path) -> Ward:
    source = {"file": "parts.csv", "column": "part"}
    folder = hospital(tmp_path, 30, site={"split": source})
    parts(tmp_path, 24)
    return Ward(folder, column_study())


def a_run(here: Ward, run: str) -> Site:
    """A run of one round, by a process of its own."""
    site = Site(here.folder, here.study, here.folder.root / "state")
    for number, what in ((0, {"statistics": True, "train": False}), (1, {"statistics": False, "train": True})):
        charge(here.plan(run=run * 16, round=number, evaluate="validation" if number else "", **what), site)
    return site


def releases(site: Site, *accounts: str) -> list[Any]:
    return [release for entry in site.ledger.entries() if entry.cohort in accounts for release in entry.releases]


def test_a_patient_who_changed_sides_between_two_runs_is_charged_on_both(here: Ward) -> None:
    alone = a_run(here, "a").ledger.spent(1e-5, "held_out")
    parts(here.folder.root, 24, moved=1)
    site = a_run(here, "b")
    twice = epsilon(releases(site, "held_out"), 1e-5)
    both = epsilon([*releases(site, "held_out"), *releases(site, "training")], 1e-5)
    assert site.ledger.spent(1e-5, "held_out") > twice > alone, "in one of the runs they trained"
    assert site.ledger.spent(1e-5, "held_out") < both, "and not in both"


def after_two_runs(here: Ward, moved: int) -> Site:
    """Before the second of which so many patients changed sides."""
    shutil.rmtree(here.folder.root / "state", ignore_errors=True)
    parts(here.folder.root, 24)
    a_run(here, "a")
    parts(here.folder.root, 24, moved=moved)
    return a_run(here, "b")


def test_that_somebody_changed_sides_is_seen_in_what_is_certified(here: Ward) -> None:
    """The one number of a private study that hangs on a patient: SECURITY.md names it."""
    assert certified(after_two_runs(here, 0)) < certified(after_two_runs(here, 1))


@pytest.mark.soak
def test_that_somebody_changed_sides_is_seen_in_when_the_budget_ends(here: Ward) -> None:
    """And the one code."""
    scored = []
    for moved in (0, 1):
        site = after_two_runs(here, moved)
        scored.append(0)
        with pytest.raises(BudgetError):
            for attempt in range(2, 200):
                charge(here.plan(run="b" * 16, attempt=attempt, statistics=False, train=False), site)
                scored[-1] += 1
    assert scored[0] > scored[1], "one patient who moved costs scores of the others"


def test_who_comes_or_leaves_changes_no_side(here: Ward) -> None:
    a_run(here, "a")
    parts(here.folder.root, 30)
    parts_of_fewer = a_run(here, "b")
    parts(here.folder.root, 20)
    site = a_run(here, "c")
    assert len({entry.split for entry in site.ledger.entries()}) == 1
    assert len(site.cohort.sides) < len(parts_of_fewer.cohort.sides)
    assert site.ledger.spent(1e-5, "training") == epsilon(releases(site, "training"), 1e-5)


def test_who_left_and_comes_back_on_another_side_is_noticed(here: Ward) -> None:
    state, study = here.folder.root / "state", here.study
    first = split_of(state, study, {"a": "train", "b": "test"})
    assert split_of(state, study, {"b": "test"}) == first
    assert split_of(state, study, {"a": "validation", "b": "test"}) != first


def test_a_hashed_split_has_no_name(here: Ward) -> None:
    assert split_of(here.folder.root / "state", study_of({"privacy": PRIVACY}), {"a": "train"}) == ""


def test_what_was_lost_or_cannot_be_compared_counts_as_another_split(here: Ward) -> None:
    state, study = here.folder.root / "state", here.study
    first = split_of(state, study, {"a": "train", "b": "test"})
    path = state / "splits" / f"{study.digest}.json"
    assert split_of(state, study, {"x": "train", "y": "test"}) != first, "other pseudonyms altogether"
    path.unlink()
    assert split_of(state, study, {"a": "train", "b": "test", "c": "test"}) != first


def test_a_newer_or_damaged_file_is_refused_in_words(here: Ward) -> None:
    state, study = here.folder.root / "state", here.study
    split_of(state, study, {"a": "train"})
    path = state / "splits" / f"{study.digest}.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"format": 2}))
    with pytest.raises(PrivacyError, match="newer release"):
        split_of(state, study, {"a": "train"})
    path.write_text("{")
    with pytest.raises(PrivacyError, match="delete it"):
        split_of(state, study, {"a": "train"})
