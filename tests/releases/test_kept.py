"""Files of a release are found again as its own code found them: digests, sides, pseudonyms, weights, charges."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pytest

from client.consent.approvals import Approvals, kept_study
from client.data.pseudonym import site_secret
from client.data.split import part_by_hash
from client.ledger.ledger import Ledger
from client.membership.identity import SiteIdentity
from client.network.inbox import Inbox
from common.disk.audit import Audit
from common.identity.enrolment import Coordinator, Kit, Request
from common.models.network import build_network
from common.parameters import Parameters, flatten
from common.privacy.plan import plan_privacy
from common.study import parse_study, study_text
from server.consortium.consortium import Consortium
from server.run.checkpoint import read
from tests.support.release import Release, release

STUDIES = ("private", "none", "unsaid", "wide")


RELEASES = ("0.1", "0.2-early", "0.2")


@pytest.fixture(params=RELEASES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Release:
    return release(request.param, tmp_path)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_keeps_its_digest(old: Release, name: str) -> None:
    study = old.study(name)
    assert study.digest == old.golden["digests"][name]
    assert parse_study(study_text(study)).digest == study.digest
    assert kept_study(old.state, study.digest) == study  # the file that the site kept at approval


@pytest.mark.parametrize("name", STUDIES)
def test_patients_keep_their_sides(old: Release, name: str) -> None:
    split, sides = old.study(name).split, old.golden["sides"][name]
    assert {who: part_by_hash(who, split) for who in sides} == sides
    assert len(set(sides.values())) == 3


def test_patients_keep_their_pseudonyms(old: Release) -> None:
    secret, found = site_secret(old.state), old.golden["pseudonyms"]
    assert {who: secret.pseudonym(who) for who in found} == found


@pytest.mark.parametrize("name", STUDIES)
def test_a_network_starts_from_the_same_weights(old: Release, name: str) -> None:
    network = build_network(old.study(name))
    assert sha256(flatten(network).tobytes()).hexdigest() == old.golden["weights"][name]
    assert Parameters.of(network).shape_digest == old.golden["parameters"][name]


@pytest.mark.parametrize("name", ["private", "wide"])
def test_noise_is_as_it_was(old: Release, name: str) -> None:
    """A study of 0.1 whose noise changed would be charged otherwise than what was approved."""
    plan = plan_privacy(old.study(name))
    assert plan is not None
    then = old.golden["privacy"][name]
    assert {key: asdict(plan)[key] for key in then} == then


def test_identity_roster_and_enrolment_are_read(old: Release) -> None:
    identity = SiteIdentity.read("north", old.state / "identity")
    assert identity.roster.digest.hex() == old.golden["roster"]
    assert Request.read(old.state / "identity" / "request.yaml").public == identity.key.public
    assert Kit.read(old.consortium / "kits" / "north.yaml").roster.digest == identity.roster.digest
    assert Coordinator.read(old.north / "connector" / "coordinator.yaml").site == "north"
    assert Consortium.read(old.consortium).roster.digest == identity.roster.digest


def test_the_audit_log_is_whole(old: Release) -> None:
    verdict = Audit(old.state / "audit.jsonl").verify()
    assert (verdict.count, verdict.head) == (old.golden["audit"]["count"], old.golden["audit"]["head"])
    assert verdict.broken is None
    assert Audit(old.consortium / "state" / "audit.jsonl").verify().broken is None


def test_the_ledger_counts_at_least_as_much(old: Release) -> None:
    ledger, digest = Ledger(old.state / "ledger.jsonl"), old.golden["digests"]["private"]
    assert len(ledger.entries()) >= old.golden["ledger"]["entries"]
    for side in old.golden["ledger"]["spent"].values():
        for delta, then in side.items():
            assert ledger.spent(float(delta), None, "rdp", digest) >= then * (1 - 1e-9)


def test_a_checkpoint_is_read(old: Release) -> None:
    state, then = read(old.runs / "stopped" / "checkpoint.npz", old.golden["digests"]["private"]), old.golden
    assert (state.round, state.number) == (then["checkpoint"]["round"], then["checkpoint"]["number"])
    found = {name: sha256(value.tobytes()).hexdigest() for name, value in state.arrays.items()}
    assert found == then["checkpoint"]["arrays"]


def test_pauses_and_withdrawals_outlast_the_release(old: Release) -> None:
    approvals, digests = Approvals(old.state).all(), old.golden["digests"]
    assert approvals[digests["unsaid"]].paused
    assert approvals[digests["wide"]].withdrawn


def test_a_letter_that_waits_is_found(old: Release) -> None:
    (letter,) = Inbox(old.north / "connector" / "inbox").waiting()
    assert letter.kind == "query.join"
