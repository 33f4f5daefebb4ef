"""Why a site is in no sum: what it said when it was last asked, for as long as it is not asked again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from client.agent.handlers import SiteHandler
from client.consent.approvals import Approvals
from client.round.gate import Gate
from client.site import Policy, WithoutPrivacy
from server.lost import Lost, Refused, Silence
from server.run.reasons import news_of_lost, ways_out
from server.run.secure_sum import Summation
from tests.server.test_summation import plan_for, summation
from tests.support.scripted import NAMES, Hospitals
from tests.support.tiny import study_of

PAUSED = Lost("join", Refused("paused"))


@pytest.fixture
def them(tmp_path) -> Hospitals:
    return Hospitals(tmp_path, study_of("chart", "panel", privacy={"mode": "none"}, rounds=9))


def named(them: Hospitals, **changes: Any) -> Summation:
    """As a deployed run makes it: it knows the sites of its nodes before they join."""
    return summation(them, names=dict(enumerate(NAMES, start=1)), **changes)


def gated(them: Hospitals, name: str) -> Approvals:
    """The site as it is deployed, behind its gate: what its people approved, and can pause."""
    site = them.sites[name].site
    open_policy = Policy(require_privacy=False, without_privacy=WithoutPrivacy(lost_site="show"))
    site.folder = replace(site.folder, file=replace(site.folder.file, policy=open_policy))
    them.sites[name] = SiteHandler(site, gate=Gate(site))
    approvals = Approvals(site.state)
    approvals.approve(them.study)
    return approvals


@pytest.mark.parametrize("between", ["before the first sum", "between two sums"])
def test_a_paused_site_is_called_paused_in_every_sum_until_it_says_something_else(them, between) -> None:
    """It was "not back yet" from the second sum on: the coordinator's people looked for a fault of the network."""
    approvals = gated(them, "south")
    summing = named(them)
    if between == "between two sums":
        assert not summing.total(plan_for(them, 1)).dropped
    approvals.pause(them.study.digest)
    assert summing.total(plan_for(them, 2)).dropped["south"].code == "paused"
    for number in (3, 4):
        assert summing.total(plan_for(them, number)).dropped == {"south": PAUSED}
    approvals.resume(them.study.digest)
    assert summing.total(plan_for(them, 5)).dropped == {"south": PAUSED}  # it is asked in this one, for the next
    total = summing.total(plan_for(them, 6))
    assert total.sites == NAMES and not total.dropped


def test_a_paused_site_that_is_silent_for_a_moment_is_still_called_paused(them) -> None:
    approvals = gated(them, "south")
    summing = named(them)
    grid: Any = summing.grid
    approvals.pause(them.study.digest)
    summing.total(plan_for(them, 1))
    grid.lost = {NAMES.index("south") + 1: "always"}
    for number in (2, 3):
        assert summing.total(plan_for(them, number)).dropped == {"south": PAUSED}


def test_a_site_that_is_silent_from_a_round_on_is_not_back_yet(them) -> None:
    summing = named(them)
    grid: Any = summing.grid
    summing.total(plan_for(them, 1))
    grid.lost = {2: "always"}
    assert summing.total(plan_for(them, 2)).dropped == {"north": Lost("round", Silence.SILENT)}
    assert summing.total(plan_for(them, 3)).dropped == {"north": Lost("join", Silence.NOT_BACK)}


def test_a_site_that_gave_no_offer_for_a_sum_is_lost_from_it(them) -> None:
    """Its people paused the study after it gave its share: it was neither in the sum nor among the lost."""
    approvals = gated(them, "south")
    summing = named(them)
    grid: Any = summing.grid
    reveals: list[int] = []

    def paused_after_its_share(node: int, reply: Any, before: Any) -> Any:
        if type(reply).__name__ == "RevealReply" and node == NAMES.index("south") + 1:
            approvals.pause(them.study.digest)
            reveals.append(node)
            return replace(reply, offer=b"")
        return reply

    grid.tamper = paused_after_its_share
    summing.total(plan_for(them, 1))
    assert reveals
    assert summing.total(plan_for(them, 2)).dropped == {"south": Lost("offer", Refused("paused"))}
    assert summing.total(plan_for(them, 3)).dropped == {"south": PAUSED}


def test_a_site_that_is_there_and_stays_out_is_not_called_away(them) -> None:
    """Where a run keeps to the sites of a sum before, who comes late is ready, and in none."""
    summing = named(them, kept_to=("east", "north", "west"))
    grid: Any = summing.grid
    grid.lost = {NAMES.index("south") + 1: "always"}
    total = summing.total(plan_for(them, 1), only=("east", "north", "west"))
    assert total.dropped == {"south": Lost("join", Silence.SILENT)}
    grid.lost = {}
    summing.total(plan_for(them, 2))
    why = summing.total(plan_for(them, 3)).dropped["south"]
    assert "is there, and stays out" in why.words
    assert "site up" not in ways_out([why, PAUSED], "first") and "resume the study" in ways_out([why, PAUSED], "first")


def test_who_is_lost_is_told_when_that_or_the_reason_changes() -> None:
    paused, gone = {"south": PAUSED}, {"south": Lost("round", Silence.CONNECTION)}
    assert news_of_lost({}, paused) == "not in this sum, or lost in it: south (join: has paused this study)"
    assert news_of_lost(paused, paused) == news_of_lost({}, {}) == ""
    assert "north" in news_of_lost(paused, paused | {"north": PAUSED})
    assert "south" not in news_of_lost(paused, paused | {"north": PAUSED})
    assert "connection lost" in news_of_lost(paused, gone)
    assert news_of_lost(paused, {}) == "back: south"
