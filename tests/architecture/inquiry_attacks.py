"""A hostile coordinator and the inquiry of `median_inquiry.py`, through real handlers. Run inside of a copy of the
product that has it, by `test_new_inquiry.py`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common.inquiries.median import IntegerNoise
from flwr.app import ConfigRecord
from scipy import stats

from client.round.round import work
from common.errors import StudyError
from common.inquiries.inquiry import opened_key
from common.messages import MESSAGE_TYPES, ConfirmRequest, Refusal, from_records, new_message, to_records
from common.plan import RoundPlan
from common.privacy.accounting import Release
from common.questions import questions_of
from common.study import Study
from tests.support.scripted import ME, NAMES, PLAIN, PRIVATE, RUN, Hospitals, refused
from tests.support.tiny import study_of

CALLED, HALVINGS, FIRST = "age_median", 3, 6  # three rounds of training, so stage 6 is the first sum after the test
ASKED = {"kind": "median", "modality": "chart", "column": "age", "low": 0.0, "high": 110.0, "sums": HALVINGS}
ASKS = (f"inquiry/{CALLED}",)
Opened = dict[str, np.ndarray]


def study(**sections: Any) -> Study:
    return study_of("chart", "panel", schema=2, inquiries={CALLED: ASKED}, **sections)


def opened(*sums: tuple[float, float]) -> Opened:
    """What the coordinator says that the sums before came to: how many are below, and how many have a value."""
    told = {}
    for place, (below, known) in enumerate(sums, start=1):
        told |= {opened_key(CALLED, place, "below"): np.array([below])}
        told |= {opened_key(CALLED, place, "known"): np.array([known])}
    return told


def sums_of(values: Any) -> tuple[float, float]:
    return tuple(float(values[f"inquiry/{CALLED}/{name}"][0]) for name in ("below", "known"))  # type: ignore[return-value]


def test_each_sum_is_built_on_the_last_opened_one(tmp_path: Path) -> None:
    them = Hospitals(tmp_path, study(**PLAIN))
    known = np.concatenate([ages(them, name) for name in NAMES])
    low, high, told = 0.0, 110.0, []
    for place in range(HALVINGS):
        values = them.summed(place + 1, round=FIRST + place, asks=ASKS, opened=opened(*told))
        below, counted = sums_of(values)
        middle = (low + high) / 2
        assert (round(below), round(counted)) == ((known < middle).sum(), known.size)
        low, high = (low, middle) if 2 * below >= counted else (middle, high)
        told.append((below, counted))
    assert low <= np.median(known) <= high and high - low == pytest.approx(110 / 2**HALVINGS)


def ages(them: Hospitals, name: str) -> np.ndarray:
    """Of this site's training and test patients who have one."""
    cohort, modality = them.cohorts[name], them.study.modalities["chart"]
    found = []
    for part in (cohort.train, cohort.test):
        values, missing = modality.columns_of(part.inputs["chart"])
        found.append(np.asarray(values)[(np.asarray(missing)[:, 0] == 0) & np.asarray(part.present)[:, 0], 0])
    return np.concatenate(found).astype(np.float64)


BAD: dict[str, dict[str, Any]] = {
    "before its time": {"round": FIRST - 1, "opened": {}},
    "after its last sum": {"round": FIRST + HALVINGS, "opened": opened(*[(1.0, 2.0)] * 3)},
    "in training": {"round": 1, "asks": ("update", *ASKS), "opened": {}},
    "on nothing": {"round": FIRST + 1, "opened": {}},
    "on more than there was": {"round": FIRST + 1, "opened": opened((1.0, 2.0), (1.0, 2.0))},
    "on half of a sum": {"round": FIRST + 1, "opened": {opened_key(CALLED, 1, "below"): np.array([1.0])}},
    "on what is no number": {"round": FIRST + 1, "opened": opened((math.nan, 2.0))},
    "on more than all sites can add": {"round": FIRST + 1, "opened": opened((5e4, 4e4))},
    "on a sum of another length": {"round": FIRST + 1, "opened": {
        **opened((1.0, 2.0)), opened_key(CALLED, 1, "known"): np.zeros(2)}},
    "twice": {"round": FIRST, "asks": ASKS * 2, "opened": {}},
    "of another inquiry": {"round": FIRST, "asks": ("inquiry/other",), "opened": {}},
    "on sums in a round of training": {"round": 1, "asks": ("update",), "opened": opened((1.0, 2.0))},
}  # fmt: skip


@pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])
def test_a_plan_that_is_not_built_on_the_sums_before_it_is_refused(tmp_path: Path, mode: Any) -> None:
    them = Hospitals(tmp_path, study(**mode))
    for number, (what, bad) in enumerate(BAD.items(), start=1):
        assert refused(them, ME, them.round_request(them.offered(number, **{"asks": ASKS} | bad))) == "run", what
    them.played(len(BAD) + 1, round=FIRST + 1, asks=ASKS, opened=opened((40.0, 96.0)))  # the same without a fault


def test_a_coordinator_cannot_tell_another_story_later_in_the_run(tmp_path: Path) -> None:
    them = Hospitals(tmp_path, study(**PRIVATE))
    them.played(1, round=FIRST + 1, asks=ASKS, opened=opened((40.0, 96.0)))
    other = {"round": FIRST + 2, "asks": ASKS, "opened": opened((50.0, 96.0), (20.0, 96.0))}
    assert refused(them, ME, them.round_request(them.offered(2, **other))) == "run"
    them.played(3, **other | {"opened": opened((40.0, 96.0), (20.0, 96.0))})


def test_nor_after_it_asked_about_another_run_in_between(tmp_path: Path) -> None:
    them = Hospitals(tmp_path, study(**PLAIN))
    them.played(1, round=FIRST + 1, asks=ASKS, opened=opened((0.0, 96.0)))
    for name in NAMES:
        them.ask(name, them.invitation(1, "f" * 16))
    again = {"round": FIRST + 1, "asks": ASKS, "attempt": 2}
    other = them.offered(2, opened=opened((96.0, 96.0)), **again)
    assert refused(them, ME, them.round_request(other)) == "run"
    them.played(3, opened=opened((0.0, 96.0)), **again)


@pytest.mark.parametrize("number", [-1, FIRST + HALVINGS, 10**12])
def test_a_round_that_the_study_has_not_is_refused_whatever_it_asks(tmp_path: Path, number: int) -> None:
    them = Hospitals(tmp_path, study(**PLAIN))
    assert refused(them, ME, them.round_request(them.offered(1, round=number, asks=()))) == "run"
    them.played(2, round=FIRST, asks=ASKS)


@pytest.mark.parametrize("what", ["bytes", "no section", "another section"])
def test_a_plan_of_protocol_5_of_another_form_is_refused(tmp_path: Path, what: str) -> None:
    them = Hospitals(tmp_path, study(**PLAIN))
    sum = them.offered(1, round=FIRST, asks=ASKS)
    records = to_records(them.round_request(sum), 5)
    if what == "bytes":
        records["plan"]["asks"] = [b"x"]
    else:
        del records["opened"]
    if what == "another section":
        records["opened"] = ConfigRecord({})
    answer = them.sites[ME](new_message(records, MESSAGE_TYPES[type(them.round_request(sum))], 1))
    assert from_records(answer.content) == Refusal("run")
    them.masked(sum)


def test_without_privacy_an_answer_is_given_over_one_set_of_sites(tmp_path: Path) -> None:
    them = Hospitals(tmp_path, study(**PLAIN), lost_site="wait")
    them.played(1, round=FIRST, asks=ASKS)
    again = {"round": FIRST, "asks": ASKS, "run": "f" * 16}
    three = dict.fromkeys(("shared", *them.study.names), NAMES[:3])
    them.masked(them.offered(1, names=NAMES[:3], owners=three, **again), NAMES[:3])
    assert refused(them, ME, ConfirmRequest(1, NAMES[:3])) == "answered"
    them.sites = {name: them.start(name) for name in NAMES}
    them.played(2, **again)


@pytest.mark.parametrize("run", [RUN, "f" * 16], ids=["in the run", "in another"])
def test_nor_over_other_sites_on_another_story_of_the_run(tmp_path: Path, run: str) -> None:
    """After a restart a site has heard no story. In another run another story is another question, whose segments are
    held against the sums before all the same.
    """
    them = Hospitals(tmp_path, study(**PLAIN), lost_site="wait")
    asked = {"round": FIRST + 1, "asks": ASKS}
    them.played(1, opened=opened((0.0, 96.0)), **asked)
    them.sites = {name: them.start(name) for name in NAMES}
    three = dict.fromkeys(("shared", *them.study.names), NAMES[:3])
    other = {"run": run, "opened": opened((96.0, 96.0))} | asked
    them.masked(them.offered(2, names=NAMES[:3], owners=three, **other), NAMES[:3])
    assert refused(them, ME, ConfirmRequest(2, NAMES[:3])) == "answered"
    them.sites = {name: them.start(name) for name in NAMES}
    them.played(3, **other)


def test_the_keys_of_an_answer_hang_on_its_story_and_on_its_run() -> None:
    asked = study(**PLAIN)
    (question,) = questions_of(ASKS, asked)
    plans = [
        RoundPlan(asked.digest, run, FIRST + 1, 1, ASKS, NAMES, {}, np.zeros(1, np.float32), opened=opened(told))
        for run in (RUN, "f" * 16)
        for told in ((0.0, 96.0), (96.0, 96.0))
    ]
    story, run = zip(*(question.keys(plan, b"cohort") for plan in plans), strict=True)
    assert story[0] == story[2] != story[1] == story[3] and run[0] == run[1] != run[2] == run[3]


def test_in_a_protocol_that_cannot_say_it_it_is_refused(tmp_path: Path) -> None:
    them = Hospitals(tmp_path, study(**PLAIN))
    asked = to_records(them.invitation(1), 4)
    reply = from_records(them.sites[ME](new_message(asked, MESSAGE_TYPES[type(them.invitation(1))], 1)).content)
    assert reply == Refusal("other_release")
    them.ask(ME, them.invitation(1))


def test_with_privacy_it_is_charged_before_it_is_answered_and_has_the_noise_of_its_price(tmp_path: Path) -> None:
    section = PRIVATE["privacy"] | {"epsilon": 200.0, "spare_rounds": 150}
    them = Hospitals(tmp_path, study(privacy=section))
    site, times, draws = them.sites[ME].site, 120, []
    for attempt in range(1, times + 1):
        plan = them.plan(round=FIRST, asks=ASKS, attempt=attempt, run=RUN)
        worked = work(plan, site)
        draws.append([part.values[0] for part in worked.summand.parts])
        entries = [entry for entry in site.ledger.entries() if entry.cohort == "training+test"]
        assert len(entries) == attempt and entries[-1].releases == (Release("statistics", 4.0, 1.0, 1),)
    found, true = np.array(draws), ages(them, ME)
    assert (found == np.rint(found)).all(), "whole numbers"
    away = found - np.array([(true < 55.0).sum(), true.size])
    sd = 4.0 * math.sqrt(2)
    assert stats.chi2.sf((away**2).sum() / sd**2, away.size) > 1e-6 < stats.chi2.cdf((away**2).sum() / sd**2, away.size)
    assert abs(np.corrcoef(away.T)[0, 1]) < 0.5


def test_an_account_of_several_sides_counts_for_each_of_them(tmp_path: Path) -> None:
    them = Hospitals(tmp_path, study(**PRIVATE))
    site = them.sites[ME].site
    work(them.plan(round=FIRST, asks=ASKS), site)
    spent = {side: site.ledger.spent(1e-5, side) for side in ("training", "validation", "test")}
    assert spent["training"] == spent["test"] > 0 == spent["validation"]


def test_the_integer_noise_is_a_discrete_gaussian() -> None:
    noise = IntegerNoise(2.5)
    drawn = noise.added_to(np.zeros(200_000))
    places = np.arange(-8, 9)
    weights = np.exp(-(np.arange(-40, 41) ** 2) / (2 * 2.5**2))
    expected = np.exp(-(places**2) / (2 * 2.5**2)) / weights.sum() * drawn.size
    seen = np.array([(drawn == place).sum() for place in places])
    assert stats.chi2.sf((((seen - expected) ** 2) / expected).sum(), places.size - 1) > 1e-6


def test_the_noise_of_training_leaves_room_for_the_inquiry() -> None:
    from common.privacy.plan import plan_privacy

    asked, bare = study(**PRIVATE), replace(study(**PRIVATE), inquiries={})
    with_it, without = plan_privacy(asked), plan_privacy(bare)
    assert with_it is not None and without is not None
    assert with_it.noise_multiplier > without.noise_multiplier
    assert with_it.test_noise_multiplier > without.test_noise_multiplier  # type: ignore[operator]
    assert with_it.evaluation_noise_multiplier == without.evaluation_noise_multiplier  # nobody asks validation patients


@pytest.mark.parametrize(
    ("changes", "sections", "sentence"),
    [
        ({"column": "height"}, PLAIN, f"inquiries.{CALLED}: there is no such column"),
        ({"kind": "mode"}, PLAIN, "inquiries"),
        ({}, {"privacy": PRIVATE["privacy"] | {"accountant": "prv"}}, "its price is known by privacy.accountant: rdp"),
    ],
)
def test_an_inquiry_that_cannot_be_asked_is_refused_with_its_place(changes: Any, sections: Any, sentence: str) -> None:
    with pytest.raises(StudyError, match=sentence):
        study_of("chart", schema=2, inquiries={CALLED: ASKED | changes}, **sections)
    study(**PLAIN)


def test_a_study_of_an_earlier_schema_has_no_inquiries() -> None:
    with pytest.raises(StudyError, match="schema: 2"):
        study_of("chart", schema=1, inquiries={CALLED: ASKED}, **PLAIN)
