"""A coordinator that asks again over other sites, without privacy: what their difference would show is not given.

Each attack is played twice: where the site shows lost sites it works, which proves that it is one; where the site
waits, the second sum is refused, and the same sites are summed as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.data.cohort import Cohort
from common.messages import ConfirmRequest
from common.study import Study
from tests.support.scripted import NAMES, Hospitals, allowed, cohort_of, normalised_study, refused

THREE = NAMES[:3]  # all but west
EIGHT = tuple("abcdefgh")
SCORES = {"asks": ("validation",), "round": 2}
UPDATE = {"round": 2}
CHART = {"chart": (np.array([50.0, 4.0]), np.array([10.0, 2.0]))}


@pytest.fixture(scope="module")
def study() -> Study:
    return normalised_study()


def one_ulp_away(them: Hospitals) -> tuple[Hospitals, dict[str, Any]]:
    weights = them.weights.copy()
    weights[0] = np.nextafter(weights[0], np.float32(9))
    return them, {"weights": weights}


def without_normaliser(them: Hospitals) -> tuple[Hospitals, dict[str, Any]]:
    return them, {"normaliser": {}}


def of_another_study(them: Hospitals) -> tuple[Hospitals, dict[str, Any]]:
    """One that differs in the number of rounds alone."""
    other = replace(them.study, rounds=them.study.rounds + 1)
    return Hospitals(them.folder, other, cohorts=them.cohorts, lost_site=them.lost_site), {}


WAYS: dict[str, Callable[[Hospitals], tuple[Hospitals, dict[str, Any]]]] = {
    "one weight one ulp away": one_ulp_away,
    "the normaliser left out": without_normaliser,
    "another study": of_another_study,
}


def hospitals(folder: Path, study: Study, lost_site: Any) -> Hospitals:
    return Hospitals(folder, study, lost_site=lost_site)


def first_asked(way: str) -> dict[str, Any]:
    """A normaliser that is left out afterwards is the study's own, written out: it changes no answer."""
    own = {"chart": (np.array([60.0, 4.5]), np.array([15.0, 2.25]))}
    return {"normaliser": own if way == "the normaliser left out" else {}}


@pytest.mark.parametrize("way", WAYS)
def test_where_it_is_shown_the_difference_is_the_lost_sites_own(tmp_path, study, way) -> None:
    them = hospitals(tmp_path, study, "show")
    all_four = them.summed(1, **SCORES, **first_asked(way))
    them, change = WAYS[way](them)
    three = them.summed(2, THREE, **SCORES, **change)
    alone = hospitals(tmp_path / "alone", study, "show")
    its_own = lone_scores(alone, "west", them.weights)
    assert np.array_equal(np.round(all_four["scores/histogram"] - three["scores/histogram"]), its_own)


def lone_scores(them: Hospitals, name: str, weights: np.ndarray) -> np.ndarray:
    """What this site adds, looked up where it is."""
    from client.training.evaluate import evaluate
    from common.models.network import set_normaliser
    from common.parameters import load

    site = them.sites[name].site
    load(site.network, weights)
    set_normaliser(site.network, {})
    return evaluate(site.network, site.cohort.validation, site.study, site.device)["scores/histogram"]


@pytest.mark.parametrize("asked", [SCORES, UPDATE], ids=["scores", "update"])
@pytest.mark.parametrize("way", WAYS)
def test_where_it_waits_the_second_sum_is_refused_and_the_same_sites_are_summed(tmp_path, study, way, asked) -> None:
    them = hospitals(tmp_path, study, "wait")
    them.summed(1, **asked, **first_asked(way))
    them, change = WAYS[way](them)
    them.sites = {name: them.start(name) for name in NAMES}  # and after a restart
    sum = them.masked(them.offered(2, **asked, **change))
    for name in THREE:
        assert refused(them, name, ConfirmRequest(2, THREE)) == "answered"
    them.revealed(them.confirmed(sum))


@pytest.mark.parametrize("lost_site", ["wait", "show"])
def test_statistics_are_the_same_question_in_every_study(tmp_path, study, lost_site) -> None:
    asked = {"asks": ("statistics",), "round": 0}
    them = hospitals(tmp_path, study, lost_site)
    them.played(1, **asked)
    other, _ = of_another_study(them)
    sum = other.masked(other.offered(2, **asked))
    for name in THREE:
        assert refused(other, name, ConfirmRequest(2, THREE)) == "answered"
    other.revealed(other.confirmed(sum))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"asks": ("statistics",), "round": 0}, UPDATE),  # weight/shared counts the training cases
        (UPDATE, {"asks": ("statistics",), "round": 0}),
        ({"asks": ("statistics",), "round": 0}, SCORES),  # scores/cases counts the validation cases
    ],
    ids=["statistics, then an update", "an update, then statistics", "statistics, then scores"],
)
def test_counts_ride_in_every_kind_of_answer(tmp_path, study, first: Mapping[str, Any], second) -> None:
    them = hospitals(tmp_path, study, "wait")
    them.played(1, **first)
    them.masked(them.offered(2, **second))
    for name in THREE:
        assert refused(them, name, ConfirmRequest(2, THREE)) == "answered"


def test_the_sets_of_an_earlier_version_of_the_cases_count(tmp_path, study) -> None:
    """A patient who opted out, or came, makes new cases of the same people."""
    them = hospitals(tmp_path, study, "wait")
    them.played(1, **UPDATE)
    for name in NAMES:
        them.cohorts[name] = cohort_of(study, name, seed=10 * NAMES.index(name), patients=11)
        them.cohorts[name] = replace(them.cohorts[name], version=f"{99:064x}")
    them.sites = {name: them.start(name) for name in NAMES}
    sum = them.masked(them.offered(2, round=3))
    assert refused(them, "east", ConfirmRequest(2, THREE)) == "answered"
    them.revealed(them.confirmed(sum))


def test_each_modality_has_the_sets_of_those_who_signed_for_it(tmp_path, study) -> None:
    """All eight are in each sum. Of the six that have charts three may cease to have some, and not one alone."""
    them = Hospitals(tmp_path, study, names=EIGHT, cohorts=eight(study, "abcdef", 1), lost_site="wait")
    them.played(1, **UPDATE, owners=owners_of("abcdef"))
    them.cohorts = eight(study, "abcde", 2)
    them.sites = {name: them.start(name) for name in EIGHT}
    them.masked(them.offered(2, round=3, owners=owners_of("abcde")))
    for name in EIGHT:
        assert refused(them, name, ConfirmRequest(2, EIGHT)) == "answered", "also whoever has no chart"
    them.cohorts = eight(study, "abc", 3)
    them.sites = {name: them.start(name) for name in EIGHT}
    them.played(3, round=3, owners=owners_of("abc"))


def eight(study: Study, charts: str, version: int) -> dict[str, Cohort]:
    """Eight sites, some with charts and all with panels."""
    cohorts = {}
    for place, name in enumerate(EIGHT):
        owned = ("chart", "panel") if name in charts else ("panel",)
        cohort = cohort_of(study, name, seed=place, patients=4)
        cohorts[name] = replace(cohort, owned=owned, version=f"{100 * version + place:064x}")
    return cohorts


def owners_of(charts: str) -> dict[str, tuple[str, ...]]:
    return {"shared": EIGHT, "chart": tuple(charts), "panel": EIGHT}


def test_of_eight_sites_too_none_is_lost_from_one_sum_to_the_next(tmp_path, study) -> None:
    """The partition of the two sets hides five and three; a third sum, that these five are not in, may not."""
    them = Hospitals(tmp_path, study, names=EIGHT, cohorts=eight(study, EIGHT, 1), lost_site="wait")
    them.played(1, **UPDATE, owners=owners_of(EIGHT))
    sum = them.masked(them.offered(2, round=3, owners=owners_of(EIGHT)))
    for name in EIGHT[:5]:
        assert refused(them, name, ConfirmRequest(2, EIGHT[:5])) == "answered"
    them.revealed(them.confirmed(sum))


def test_a_late_site_and_a_new_member_are_others_and_a_person_may_allow_them(tmp_path, study) -> None:
    them = hospitals(tmp_path, study, "wait")
    them.played(1, THREE, **UPDATE)
    sum = them.masked(them.offered(2, round=3))
    for name in THREE:
        assert refused(them, name, ConfirmRequest(2, NAMES)) == "answered"
        allowed(tmp_path / name, {one: key.hex() for one, key in them.roster.sites.items()})
    them.revealed(them.confirmed(sum))
    sum = them.masked(them.offered(3, round=3, weights=them.weights + np.float32(0.5)))
    others = ("east", "south", "west")
    assert refused(them, "east", ConfirmRequest(3, others)) == "answered", "one set was allowed, and not any"
    them.revealed(them.confirmed(sum))
