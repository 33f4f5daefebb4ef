"""Approvals: what a person agreed to and nothing else, whoever changes the files, whenever the machine dies."""

from __future__ import annotations

import multiprocessing
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.agent.retention import purge_old
from client.consent.approvals import Approvals, approved_study, keep_study, kept_name, kept_study
from client.data.prepare import prepare
from client.ledger.ledger import Entry, Ledger
from common.disk.audit import Approved, Audit, Expired, Paused, Purged, Resumed, Withdrew
from common.errors import AuditError, NotApprovedError, PausedError, WardroundError
from common.study import Study, study_text
from tests.support.hospital import hospital
from tests.support.hospital import study_of as hospital_study
from tests.support.tiny import study_of

STUDY = study_of("chart", "panel")
OTHER = study_of("chart")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def events(state: Path) -> list[object]:
    return [record.event for record in Audit(state / "audit.jsonl").events()]


def test_what_runs_is_what_was_approved(state) -> None:
    Approvals(state).approve(STUDY, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
    assert approved_study(state, STUDY.digest) == STUDY
    assert Approvals(state).all()[STUDY.digest].approved == "2026-03-04T05:06:07Z"
    assert events(state) == [Approved(STUDY.digest)]
    with pytest.raises(NotApprovedError, match="not approved here"):
        approved_study(state, OTHER.digest)


def test_nothing_is_approved_at_the_start(state) -> None:
    assert Approvals(state).all() == {} and not state.exists()
    with pytest.raises(NotApprovedError):
        Approvals(state).require(STUDY.digest)


def test_pause_resume_withdraw_and_no_way_back(state) -> None:
    approvals, digest = Approvals(state), STUDY.digest
    approvals.approve(STUDY)
    approvals.pause(digest)
    with pytest.raises(PausedError):
        approved_study(state, digest)
    approvals.approve(STUDY)
    with pytest.raises(PausedError):  # an approval ends no pause
        approvals.require(digest)
    approvals.resume(digest)
    approvals.require(digest)
    approvals.withdraw(digest)
    approvals.resume(digest)
    for asked in (True, False):
        with pytest.raises(NotApprovedError, match="for good"):
            approvals.require(digest, asked=asked)
    with pytest.raises(NotApprovedError, match="for good"):
        approvals.approve(STUDY)
    kinds = [type(event) for event in events(state)]
    assert kinds == [Approved, Paused, Approved, Resumed, Withdrew, Resumed]


def test_a_pause_of_one_study_is_none_of_another(state) -> None:
    approvals = Approvals(state)
    approvals.approve(STUDY)
    approvals.approve(OTHER)
    approvals.withdraw(STUDY.digest)
    approvals.require(OTHER.digest)


def test_a_resume_approves_nothing(state) -> None:
    approvals = Approvals(state)
    approvals.resume(STUDY.digest)
    with pytest.raises(NotApprovedError):
        approvals.require(STUDY.digest)


# -------------------------------------------------------------------------------------------------------- an attacker


def test_a_study_file_changed_after_its_approval_does_not_run(state) -> None:
    Approvals(state).approve(STUDY)
    path = state / "studies" / f"{STUDY.digest}.yaml"
    path.write_text(study_text(replace(STUDY, rounds=10_000)))
    with pytest.raises(NotApprovedError, match="digest differs"):
        approved_study(state, STUDY.digest)
    path.unlink()
    with pytest.raises(NotApprovedError, match="not kept here"):
        approved_study(state, STUDY.digest)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_approves_nothing(state, mode) -> None:
    Approvals(state).approve(STUDY)
    (state / "approvals.yaml").chmod(mode)
    with pytest.raises(NotApprovedError, match="chmod 600"):
        Approvals(state).require(STUDY.digest)


def test_a_link_in_its_place_approves_nothing(state, tmp_path) -> None:
    Approvals(state).approve(STUDY)
    (state / "approvals.yaml").rename(tmp_path / "elsewhere.yaml")
    (state / "approvals.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(NotApprovedError):
        Approvals(state).require(STUDY.digest)


@pytest.mark.parametrize(
    "text", ["", "studies: [", "studies: {}\nall: yes\n", "studies:\n  abc: {}\n", "\0", "studies: {x: 1}", "[]"]
)
def test_a_damaged_file_approves_nothing(state, text) -> None:
    Approvals(state).approve(STUDY)
    (state / "approvals.yaml").write_text(text)
    with pytest.raises(NotApprovedError):
        Approvals(state).require(STUDY.digest)
    with pytest.raises(WardroundError):  # and it is not written over as if nobody had decided anything
        Approvals(state).approve(OTHER)
    assert (state / "approvals.yaml").read_text() == text


def test_files_are_their_owner_s_alone(state) -> None:
    before = os.umask(0)
    try:
        Approvals(state).approve(STUDY)
        Approvals(state).pause(STUDY.digest)
    finally:
        os.umask(before)
    for path in (state, *state.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_approval_without_its_line_in_the_audit_log_but_a_pause_all_the_same(state) -> None:
    approvals = Approvals(state)
    approvals.approve(STUDY)
    (state / "audit.jsonl").write_text("broken\n")
    with pytest.raises(AuditError):
        approvals.approve(OTHER)
    with pytest.raises(NotApprovedError):
        approvals.require(OTHER.digest)
    with pytest.raises(AuditError):
        approvals.pause(STUDY.digest)
    with pytest.raises(PausedError):
        approvals.require(STUDY.digest)
    with pytest.raises(AuditError):
        approvals.resume(STUDY.digest)
    with pytest.raises(PausedError):
        approvals.require(STUDY.digest)


def _approve(state: Path, rounds: int) -> None:
    Approvals(state).approve(replace(STUDY, rounds=rounds))


def test_two_processes_at_once_lose_no_decision(state) -> None:
    context = multiprocessing.get_context("fork")
    several = [context.Process(target=_approve, args=(state, rounds)) for rounds in range(10, 18)]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
        assert process.exitcode == 0
    assert len(Approvals(state).all()) == 8 and Audit(state / "audit.jsonl").verify().count == 8


# ------------------------------------------------------------------------------------------------ finding and deleting


def test_a_study_is_found_by_the_beginning_of_its_digest(state) -> None:
    approvals = Approvals(state)
    approvals.approve(STUDY)
    assert approvals.find(STUDY.digest[:6]) == STUDY.digest
    for prefix in ("", STUDY.digest[:3], "zzzz", OTHER.digest):
        with pytest.raises(NotApprovedError, match="site studies"):
            approvals.find(prefix)


def test_purge_deletes_what_was_prepared_and_keeps_what_was_spent(tmp_path) -> None:
    folder, study = hospital(tmp_path / "north"), hospital_study(modalities=["labs", "genes"])
    other = hospital_study(modalities=["report"])
    state = folder.path(folder.file.state)
    approvals = Approvals(state)
    approvals.approve(study)
    prepare(folder, study)
    prepare(folder, other)
    Ledger(state / "ledger.jsonl").note_exact(Entry(study.digest, "", 0, 0, "training", (), exact=True))
    assert approvals.purge(study.digest) == 2
    assert not list((state / "cache").glob("labs/*")) and list((state / "cache").glob("report/*"))
    assert not (state / "studies" / f"{study.digest}.yaml").exists() and (state / "ledger.jsonl").exists()
    assert events(state) == [Approved(study.digest), Purged(study.digest, 2)]
    with pytest.raises(NotApprovedError):
        approvals.require(study.digest)
    approvals.approve(study)  # and may be agreed to again


def test_a_purge_does_not_forget_a_withdrawal(tmp_path) -> None:
    state = tmp_path / "state"
    approvals = Approvals(state)
    approvals.approve(STUDY)
    approvals.withdraw(STUDY.digest)
    approvals.purge(STUDY.digest)
    with pytest.raises(NotApprovedError, match="for good"):
        approvals.approve(STUDY)
    assert kept_name(state, STUDY.digest) == "-"


def test_a_purge_of_a_study_whose_file_is_gone_deletes_everything_prepared(tmp_path) -> None:
    folder, study = hospital(tmp_path / "north"), hospital_study(modalities=["labs"])
    state = folder.path(folder.file.state)
    Approvals(state).approve(study)
    prepare(folder, study)
    (state / "studies" / f"{study.digest}.yaml").unlink()
    assert Approvals(state).purge(study.digest) == 1 and not list((state / "cache").glob("*/*"))


def test_data_that_nobody_used_for_the_days_of_retention_goes(tmp_path) -> None:
    folder, labs, genes = hospital(tmp_path / "north"), *(hospital_study(modalities=[one]) for one in ("labs", "genes"))
    state, now = folder.path(folder.file.state), datetime.now(UTC)
    prepare(folder, labs)
    prepare(folder, genes)
    for entry in (state / "cache").glob("*/*/"):
        os.utime(entry, (0, (now - timedelta(days=31)).timestamp()))
    prepare(folder, labs)  # used again
    assert purge_old(state, 0, now) == 0
    assert purge_old(state, 32, now) == 0
    assert purge_old(state, 30, now) == 1
    assert list((state / "cache").glob("labs/*")) and not list((state / "cache").glob("genes/*"))
    assert events(state) == [Expired(1)]
    assert purge_old(tmp_path / "nowhere", 30, now) == 0


def test_a_study_may_be_kept_without_being_approved(state) -> None:
    keep_study(state, STUDY)
    assert kept_study(state, STUDY.digest) == STUDY == approved_study(state, STUDY.digest, asked=False)
    with pytest.raises(NotApprovedError):
        approved_study(state, STUDY.digest)
    assert isinstance(STUDY, Study)
