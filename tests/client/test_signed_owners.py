"""A coordinator whose plan says otherwise than the sites signed: of owners, of what is summed, of when it is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from client.data.cohort import Cohort
from client.round.round import work
from common.errors import ProtocolOrderError
from common.messages import ConfirmRequest, RoundRequest
from common.plan import Declaration
from common.study import Study
from tests.support.scripted import ME, NAMES, PLAIN, PRIVATE, Hospitals, cohort_of, refused
from tests.support.tiny import study_of

MODES = pytest.mark.parametrize("mode", [PLAIN, PRIVATE], ids=["none", "local"])


def with_panel(study: Study, owners: tuple[str, ...]) -> dict[str, Cohort]:
    """Every site has charts, and only these have panels."""
    return {name: having(study, name, study.names if name in owners else ("chart",)) for name in NAMES}


def having(study: Study, name: str, modalities: tuple[str, ...]) -> Cohort:
    """A site's patients, who have these modalities alone."""
    cohort = cohort_of(study, name, seed=10 * NAMES.index(name))
    for part in (cohort.train, cohort.validation, cohort.test):
        for column, modality in enumerate(study.names):
            if modality not in modalities:
                part.present[:, column] = False
    return replace(cohort, owned=tuple(one for one in study.names if one in modalities))


@MODES
@pytest.mark.parametrize("asked", [{}, {"asks": ("statistics",), "round": 0}], ids=["update", "statistics"])
def test_a_plan_that_names_no_owner_of_what_one_site_has_opens_nothing(tmp_path, mode, asked) -> None:
    """The opened `update/panel`, the count of panels and their moments would be the only owner's own."""
    study = study_of("chart", "panel", **mode)
    them = Hospitals(tmp_path, study, cohorts=with_panel(study, (ME,)))
    sum = them.offered(1, owners={"shared": NAMES, "chart": NAMES}, **asked)
    lie = them.round_request(sum, owners={"shared": NAMES, "chart": NAMES, "panel": ()})
    for name in NAMES:
        assert refused(them, name, lie) == "secure_sum"
    them.revealed(them.confirmed(them.masked(sum)))  # without the lie it is answered


@MODES
@pytest.mark.parametrize("named", [(), (ME,), NAMES[:3], NAMES[1:]], ids=["none", "one", "three", "the others"])
@pytest.mark.parametrize("group", ["shared", "chart"])
def test_the_owners_in_a_plan_are_those_that_signed(tmp_path, mode, named, group) -> None:
    them = Hospitals(tmp_path, study_of("chart", "panel", **mode))
    sum = them.offered(1)
    for name in NAMES:
        assert refused(them, name, them.round_request(sum, owners={**sum.plan.owners, group: named})) == "secure_sum"
    them.revealed(them.confirmed(them.masked(sum)))


def test_a_modality_that_nobody_signed_is_no_group(tmp_path) -> None:
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=with_panel(study, ()))
    sum = them.offered(1, owners={"shared": NAMES, "chart": NAMES})
    lie = them.round_request(sum, owners={"shared": NAMES, "chart": NAMES, "panel": ()})
    assert refused(them, ME, lie) == "too_few_sites"
    them.masked(sum)


@MODES
def test_owners_are_counted_over_what_was_signed_at_u1_and_again_at_u2(tmp_path, mode) -> None:
    study = study_of("chart", "panel", **mode)
    owners = {"shared": NAMES, "chart": NAMES, "panel": NAMES[:3]}
    them = Hospitals(tmp_path, study, cohorts=with_panel(study, NAMES[:3]))
    sum = them.offered(1, owners=owners)
    two_of_three = replace(them.round_request(sum), offers=tuple(sum.offers[name] for name in NAMES[1:]))
    for name in NAMES[1:]:
        assert refused(them, name, two_of_three) == "too_few_sites", "at U1"
    them.masked(sum)
    for name in NAMES[1:]:
        assert refused(them, name, ConfirmRequest(1, NAMES[1:])) == "too_few_sites", "at U2"
    them.confirmed(sum, NAMES[:3])


def test_a_site_whose_last_panel_is_gone_is_out_until_it_joins_anew(tmp_path) -> None:
    """A site without privacy adds what it has: an owner that adds nothing would make two owners look like three."""
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=with_panel(study, NAMES[:3]))
    owners = {"shared": NAMES, "chart": NAMES, "panel": NAMES[:3]}
    sum = them.offered(1, owners=owners)
    mine = them.sites[ME]
    mine.site.__dict__["cohort"] = having(study, ME, ("chart",))  # who had panels has opted out
    assert refused(them, ME, them.round_request(sum)) == ProtocolOrderError.code
    them.masked(sum, NAMES[1:])
    assert refused(them, "north", ConfirmRequest(1, NAMES[1:])) == "too_few_sites", "two owners are left"
    sum = them.offered(2, owners={"shared": NAMES, "chart": NAMES})
    (signed,) = [member.modalities for member in sum.context.members if member.name == ME]
    assert signed == ("chart",)
    them.revealed(them.confirmed(them.masked(sum)))


def test_the_consent_that_rides_on_an_offer_is_made_anew_when_the_site_joins_anew(tmp_path) -> None:
    """It was signed for the next sum with the modalities of before."""
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study)
    them.offered(1)
    them.sites[ME].site.__dict__["cohort"] = having(study, ME, ("chart",))
    assert [member.modalities for member in them.context(2).members] == [
        ("chart",) if name == ME else ("chart", "panel") for name in NAMES
    ]


def test_a_modality_that_a_site_did_not_sign_is_not_added_by_it(tmp_path) -> None:
    """It has panels since an opt-out was taken back; it did not sign for them, and adds none before it joins anew."""
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, cohorts=with_panel(study, NAMES[1:]))
    sum = them.offered(1, owners={"shared": NAMES, "chart": NAMES, "panel": NAMES[1:]})
    them.sites[ME].site.__dict__["cohort"] = cohort_of(study, ME)
    opened = them.opened(sum, round=0, asks=("statistics",))
    assert opened["present"].tolist() == [4 * 36, 3 * 36]


def test_a_private_site_is_an_owner_of_what_it_signed_whatever_it_has(tmp_path) -> None:
    """That it is out would tell, exactly and unpaid, that its last panel has gone: it adds noise."""
    study = study_of("chart", "panel", **PRIVATE)
    them = Hospitals(tmp_path, study)
    sum = them.offered(1)
    site = them.sites[ME].site
    site.__dict__["cohort"] = having(study, ME, ("chart",))
    them.revealed(them.confirmed(them.masked(sum)))
    done = work(replace(sum.plan, round=2), site, Declaration(("chart", "panel"), ("train",)))
    assert {part.segment.name: part.values for part in done.summand.parts}["weight/panel"].tolist() == [1.0]


def test_in_the_open_too_a_plan_says_of_a_site_what_that_site_signed(tmp_path) -> None:
    study = study_of("chart", "panel", **PLAIN, secure_sum={"enabled": False})
    them = Hospitals(tmp_path, study, cohorts=with_panel(study, NAMES[1:]))
    them.context(1)
    plan = them.plan(owners={"shared": NAMES, "chart": NAMES, "panel": NAMES[1:]})
    ask = RoundRequest(1, plan, ())
    for changes in (
        {"sites": NAMES[1:]},
        {"owners": {**plan.owners, "shared": NAMES[1:]}},
        {"owners": {**plan.owners, "panel": NAMES}},
        {"owners": {**plan.owners, "chart": NAMES[1:]}},
    ):
        assert refused(them, ME, replace(ask, plan=replace(plan, **changes))) == "run"
    them.ask(ME, ask)


@MODES
@pytest.mark.parametrize(
    "asked",
    [
        {"asks": ("update", "test")},
        {"round": 4, "asks": ("test",)},
        {"round": 1, "asks": ("statistics", "update")},
        {"round": 0, "asks": ("statistics", "validation")},
        {"round": 2, "asks": ("update", "validation")},
        {"round": 6, "asks": ("validation",)},
        {"round": 1 << 40, "asks": ("test",)},
    ],
    ids=lambda asked: "-".join(map(str, asked.values())),
)
def test_what_is_asked_in_a_round_is_what_the_study_asks_in_it(tmp_path, mode, asked) -> None:
    """A plan could ask for test patients in every round, and for statistics as often as it liked."""
    study = study_of("chart", "panel", **mode, evaluation={"every": 2})
    them = Hospitals(tmp_path, study)
    sum = them.offered(1)
    assert refused(them, ME, them.round_request(sum, **asked)) == "run"
    them.ask(ME, them.round_request(sum, asks=("update", "validation")))


def test_without_privacy_test_patients_are_scored_as_often_as_a_coordinator_asks(tmp_path) -> None:
    """What SECURITY.md says of it: a plan is held to its round's number alone. No round of training was played."""
    study = study_of("chart", "panel", **PLAIN)
    them = Hospitals(tmp_path, study, lost_site="wait")
    cases = set()
    for number in (1, 2, 3):
        weights = them.weights + np.float32(number / 10)
        opened = them.summed(number, round=study.rounds + 2, asks=("test",), weights=weights)
        cases.add(opened["scores/histogram"].tobytes())
    assert len(cases) == 3
