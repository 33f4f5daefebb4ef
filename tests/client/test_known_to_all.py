"""Whoever is in a sum without privacy knows of it, also where the coordinator asks only so many as open it.

t sites of a sum give the shares that open it. What the others were not asked about they would not hold against the sums
to come: three sums over {a b c d}, {d e f g} and all seven, each opened by sites that were in one of the first two
alone, show d.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from client.data.cohort import Cohort
from client.data.split import PARTS
from common.messages import ConfirmRequest, Refusal
from common.study import Study
from tests.client.test_shown_by_differences import STATISTICS, cohorts_of, hospitals, in_study, moved
from tests.support.scripted import NAMES, PLAIN, Hospitals, Sum, cohort_of, refused
from tests.support.tiny import study_of

SEVEN = tuple("abcdefg")


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of("chart", "panel", **PLAIN)


def seven(folder: Path, study: Study, waiting: Collection[str]) -> Hospitals:
    cohorts: dict[str, Cohort] = {}
    for place, name in enumerate(SEVEN):
        cohort = cohort_of(study, name, seed=10 * place)
        sides = {f"{part} {i}": part for part in PARTS for i in range(len(getattr(cohort, part)))}
        cohorts[name] = replace(cohort, sides=sides)
    them = Hospitals(folder, study, names=SEVEN, cohorts=cohorts, smallest_part=10, lost_site="show")
    them.lost_site = "wait"
    them.sites |= {name: them.start(name) for name in waiting}
    return them


def asked(them: Hospitals, number: int, names: Collection[str]) -> Sum:
    """All of these mask a score of their own weights, which is no question that was answered before."""
    weights = them.weights.copy()
    weights[0] += number
    owners = dict.fromkeys(("shared", "chart", "panel"), tuple(names))
    scores = {"round": 1, "asks": ("validation",), "weights": weights, "owners": owners}
    return them.masked(them.offered(number, names=tuple(names), run=f"{number:016x}", **scores))


def confirmed_by(them: Hospitals, sum: Sum, names: Collection[str]) -> Sum:
    for name in names:
        request = ConfirmRequest(sum.context.number, sum.context.names)
        sum.confirmations[name] = them.ask(name, request).confirmation
    return sum


def refusals(them: Hospitals, sum: Sum, names: Collection[str]) -> Mapping[str, str]:
    replies = {name: them.answer(name, them.reveal_request(sum)) for name in names}
    return {name: reply.code for name, reply in replies.items() if isinstance(reply, Refusal)}


def test_sums_that_one_site_is_not_asked_about_do_not_show_it(tmp_path, study) -> None:
    """It is in three sums, and in the partition of those who open one of them there is nothing small."""
    them = seven(tmp_path, study, SEVEN)
    first = confirmed_by(them, asked(them, 1, "abcd"), "abc")
    assert refusals(them, first, "abc") == dict.fromkeys("abc", "too_few_sites")
    them.revealed(confirmed_by(them, first, "d"))
    second = confirmed_by(them, asked(them, 2, "defg"), "efg")
    assert refused(them, "d", ConfirmRequest(2, tuple("defg"))) == "answered"
    assert refusals(them, second, "efg") == dict.fromkeys("efg", "too_few_sites")
    them.revealed(confirmed_by(them, asked(them, 3, "abcd"), "abcd"))  # the same sites as before


def test_a_set_is_kept_before_the_confirmation_of_it_leaves(tmp_path, study) -> None:
    """The site is killed when it has confirmed, and starts again from its disk. Whoever has all confirmations opens."""
    them = seven(tmp_path, study, SEVEN)
    confirmed_by(them, asked(them, 1, "abcd"), "d")
    them.sites["d"] = them.start("d")
    asked(them, 2, "defg")
    assert refused(them, "d", ConfirmRequest(2, tuple("defg"))) == "answered"


def test_who_knows_of_one_that_waits_is_asked_too(tmp_path, study) -> None:
    """d and e say `show`, and c, which waits, was in a sum with them. Without d and e, the sum would show c."""
    them = seven(tmp_path, study, "c")
    before = confirmed_by(them, asked(them, 1, "abfg"), "abf")
    assert refusals(them, before, "abf") == {}, "where nobody waits, t of them open the sum"
    them.revealed(confirmed_by(them, asked(them, 2, "cde"), "cde"))
    them.lost_site = "show"
    them.sites |= {name: them.start(name) for name in "de"}  # what they know of c is on their disks
    later = confirmed_by(them, asked(them, 3, "abdf"), "abf")
    assert refused(them, "d", ConfirmRequest(3, tuple("abdf"))) == "answered"
    assert refusals(them, later, "abf") == dict.fromkeys("abf", "too_few_sites")


def test_a_cut_is_kept_by_a_site_that_is_asked_for_no_share(tmp_path, study) -> None:
    """West masks and is left out of the last legs; then another study moves one patient of west to another part."""
    cohorts = cohorts_of(study)
    them = hospitals(tmp_path, study, cohorts)
    first = them.masked(them.offered(1, **STATISTICS))
    confirmed_by(them, first, NAMES)
    assert refusals(them, first, NAMES[:3]) == {}
    other = replace(study, split=replace(study.split, key="another"))
    cohorts["west"] = moved(cohorts["west"], 1)
    them = in_study(them, other, cohorts)
    second = them.offered(2, run="2" * 16, **STATISTICS, study=other.digest)
    assert refused(them, "west", them.round_request(second)) == "answered"
