"""In a study that has begun here nobody changes sides, and what leaves the site does not tell who would have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from client.consent.readiness import readiness
from client.data.prepare import prepare
from client.data.pseudonym import site_secret
from client.data.sides import split_of
from client.ledger.forecast import left
from client.round.charges import certified, charge
from client.round.session import Site
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
    for number, asks in enumerate((("statistics",), ("update", "validation"))):
        charge(here.plan(run=run * 16, round=number, asks=asks), site)
    return site


def releases(site: Site, *accounts: str) -> list[Any]:
    return [release for entry in site.ledger.entries() if entry.cohort in accounts for release in entry.releases]


def test_a_patient_whose_word_changes_between_two_runs_stays_on_the_side_that_was_charged(here: Ward) -> None:
    before = a_run(here, "a").cohort.sides
    parts(here.folder.root, 24, moved=1)
    site = a_run(here, "b")
    assert prepare(here.folder, other_study()).sides != before, "another study takes the file as it is"
    assert site.cohort.sides == before
    assert [len(part) for part in (site.cohort.train, site.cohort.validation)] == [8, 8]
    assert site.ledger.spent(1e-5, "held_out") == epsilon(releases(site, "held_out"), 1e-5)
    assert any("1 patients have another part" in words for words in readiness(site.cohort, here.study).warnings)


def other_study() -> Study:
    return study_of({"split": SPLIT, "privacy": PRIVACY, "rounds": 4}, ["labs"])


def after_two_runs(here: Ward, moved: int) -> Site:
    """Before the second of which the file says of so many patients that they changed sides."""
    shutil.rmtree(here.folder.root / "state", ignore_errors=True)
    parts(here.folder.root, 24)
    a_run(here, "a")
    parts(here.folder.root, 24, moved=moved)
    return a_run(here, "b")


@pytest.mark.parametrize("schema", [0, 1])
def test_what_is_certified_is_the_same_whoever_changed_sides(here: Ward, schema: int) -> None:
    here.study = study_of({"split": SPLIT, "privacy": PRIVACY, "rounds": 3, "schema": schema}, ["labs"])
    stayed, moved = [all_that_is_said(after_two_runs(here, number)) for number in (0, 1)]
    assert stayed == moved


def all_that_is_said(site: Site) -> list[float]:
    """What is certified, and what is compared with the budget before a run begins or goes on. Read at once: the next
    site has the same folder.
    """
    assert site.privacy is not None
    costs = (left(site.study, site.privacy, first) for first in (0, 1, 3))
    return [*certified(site), *(site.ledger.after(cost, 1e-5, "rdp", site.study.digest) for cost in costs)]


@pytest.mark.soak
def test_the_budget_ends_at_the_same_attempt_whoever_changed_sides(here: Ward) -> None:
    scored = []
    for moved in (0, 1):
        site = after_two_runs(here, moved)
        scored.append(0)
        with pytest.raises(BudgetError):
            for attempt in range(2, 200):
                charge(here.plan(run="b" * 16, attempt=attempt, asks=("validation",)), site)
                scored[-1] += 1
    assert scored[0] == scored[1] > 0


def test_who_comes_or_leaves_changes_no_side(here: Ward) -> None:
    a_run(here, "a")
    parts(here.folder.root, 30)
    parts_of_fewer = a_run(here, "b")
    parts(here.folder.root, 20)
    site = a_run(here, "c")
    assert len({entry.split for entry in site.ledger.entries()}) == 1
    assert len(site.cohort.sides) < len(parts_of_fewer.cohort.sides)
    assert site.ledger.spent(1e-5, "training") == epsilon(releases(site, "training"), 1e-5)


def test_who_left_and_comes_back_with_another_word_is_where_they_were(here: Ward) -> None:
    before = a_run(here, "a").cohort.sides
    assert len(without_the_first(here)) == len(before) - 1
    parts(here.folder.root, 24, moved=1)
    assert a_run(here, "c").cohort.sides == before


def without_the_first(here: Ward) -> dict[str, str]:
    """The sides of a run while one patient has no word."""
    parts(here.folder.root, 24)
    rows = (here.folder.root / "parts.csv").read_text().splitlines()
    (here.folder.root / "parts.csv").write_text("\n".join([rows[0], *rows[2:]]) + "\n")
    return dict(a_run(here, "b").cohort.sides)


def test_before_anything_is_charged_the_file_may_be_corrected(here: Ward) -> None:
    first = Site(here.folder, here.study, here.folder.root / "state").cohort.sides
    parts(here.folder.root, 24, moved=1)
    assert a_run(here, "a").cohort.sides != first


def test_a_hashed_split_has_no_name(here: Ward) -> None:
    state = here.folder.root / "state"
    assert split_of(state, study_of({"privacy": PRIVACY}), {"a": "train"}, site_secret(state)) == ""


def test_where_what_was_kept_is_lost_the_earlier_charges_count_for_every_side(here: Ward) -> None:
    """More is counted, and not less: nobody knows any more who was where."""
    alone = a_run(here, "a").ledger.spent(1e-5, "held_out")
    (kept,) = (here.folder.root / "state" / "splits").iterdir()
    kept.unlink()
    site = a_run(here, "b")
    twice = epsilon(releases(site, "held_out"), 1e-5)
    both = epsilon([*releases(site, "held_out"), *releases(site, "training")], 1e-5)
    assert site.ledger.spent(1e-5, "held_out") > twice > alone, "in one of the runs they may have trained"
    assert site.ledger.spent(1e-5, "held_out") < both, "and not in both"


def test_under_another_secret_of_the_pseudonyms_it_is_another_split(here: Ward) -> None:
    state, study = here.folder.root / "state", here.study
    first = split_of(state, study, {"a": "train", "b": "test"}, site_secret(state))
    assert split_of(state, study, {"x": "train"}, site_secret(state)) == first, "whoever the patients are"
    (state / "pseudonym.key").unlink()
    assert split_of(state, study, {"a": "train", "b": "test"}, site_secret(state)) != first


def test_sides_that_another_process_kept_meanwhile_begin_another_split(here: Ward) -> None:
    state, study = here.folder.root / "state", here.study
    secret = site_secret(state)
    first = split_of(state, study, {"a": "train"}, secret)
    assert split_of(state, study, {"a": "test"}, secret) != first


def test_a_newer_or_damaged_file_is_refused_in_words(here: Ward) -> None:
    state, study = here.folder.root / "state", here.study
    secret = site_secret(state)
    split_of(state, study, {"a": "train"}, secret)
    path = state / "splits" / f"{study.digest}.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | {"format": 2}))
    with pytest.raises(PrivacyError, match="newer release"):
        _ = Site(here.folder, study, state).cohort
    path.write_text("{")
    with pytest.raises(PrivacyError, match="delete it"):
        _ = Site(here.folder, study, state).cohort
