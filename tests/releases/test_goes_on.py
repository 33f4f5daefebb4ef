"""From 0.2 on what a release left goes on as if nothing had been installed: approved, resumed, charged, understood."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from client.agent.agent import Agent
from client.consent.approvals import approved_study, kept_study
from client.exact_sums.asked import Asked
from client.exact_sums.cuts import opening, require_alike
from client.exact_sums.cuts_file import opened
from client.exact_sums.sum_records import SumRecords
from client.ledger.accounts import ledger_of
from client.site import read_site
from common.errors import AnsweredError
from common.messages import JoinReply, from_records
from common.models.network import build_network
from common.parameters import flatten
from common.record_bytes import from_bytes
from common.study import parse_study, study_text
from server.run.run_folder import open_run
from server.run.watch import read_status
from tests.support.cuts import everyone
from tests.support.release import Release, release

RELEASES = ("0.2-early", "0.2")


@pytest.fixture(params=RELEASES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Release:
    return release(request.param, tmp_path)


@pytest.mark.parametrize("name", ["private", "none", "numbered"])
def test_an_approval_holds(old: Release, name: str) -> None:
    study = old.study(name)
    assert study.digest == old.golden["digests"][name]
    assert approved_study(old.state, study.digest) == study == kept_study(old.state, study.digest)


def test_a_study_of_its_schema_keeps_digest_and_weights(old: Release) -> None:
    study = old.study("numbered")
    assert study.schema == 1 and parse_study(study_text(study)).digest == study.digest
    assert flatten(build_network(study)).size == flatten(build_network(old.study("private"))).size


def test_charges_are_those_that_it_counted_and_the_audit_log_agrees(old: Release) -> None:
    """`ledger_of` holds the ledger against the log beside it, and refuses one that lacks a charge."""
    ledger, digest = ledger_of(old.state), old.golden["digests"]["private"]
    assert len(ledger.entries()) == old.golden["ledger"]["entries"] > 0
    for side, spent in old.golden["ledger"]["spent"].items():
        for delta, then in spent.items():
            assert ledger.spent(float(delta), side, "rdp", digest) == pytest.approx(then, rel=1e-9)


def test_a_run_that_was_killed_is_resumed(old: Release) -> None:
    open_run(old.runs / "stopped", old.study("private"), resume=True)  # refuses what it cannot go on with
    assert read_status(old.runs / "numbered" / "status.json").ended == "completed"


def test_the_sets_over_which_a_site_was_opened_are_kept(old: Release) -> None:
    kept = SumRecords(old.state).kept()
    assert kept and all(len(one.sites) == 3 for sets in kept.values() for one in sets)


def test_what_a_person_allows_is_kept_beside_what_this_person_was_told(old: Release) -> None:
    """A file from before the release of 0.2 has no place for it; its allowances were told of nobody."""
    records = SumRecords(old.state)
    before = sorted(records.kept()["shared"][0].sites)
    with sqlite3.connect(old.state / "secure_sum.db") as file:
        file.execute("INSERT OR REPLACE INTO allowed (sites) VALUES (?)", (json.dumps(sorted([*before, "new"])),))
    four = {key: key for key in (*before, "new")}
    asked = Asked(("asked",), {"shared": four}, 1)
    with pytest.raises(AnsweredError, match="Ask again"):
        records.require_allowed(asked, four)
    told = records.showing(four)
    assert told == [frozenset({"new"})]
    records.allow(four, told)
    records.require_allowed(asked, four)


def test_the_cuts_that_a_site_kept_hold(old: Release) -> None:
    """Of before 0.2 was released it has neither modalities nor versions; of whom it kept nobody moves."""
    with opened(old.state) as book:
        (kept,) = book.cuts
    same = everyone(kept.sides)
    same = replace(same, signed=same.filled(10))
    require_alike(old.state, "another", same, 10)
    with pytest.raises(AnsweredError):
        require_alike(old.state, "another", everyone(dict.fromkeys(kept.sides, "test")), 10)
    opening(old.state, *kept.studies, same, 10)


def test_what_the_coordinator_asked_is_answered(old: Release) -> None:
    reply = Agent(read_site(old.north)).answer(old.message("join_request"))
    assert isinstance(from_records(from_bytes(reply)), JoinReply)
    assert from_records(from_bytes(old.message("refusal")))
