"""`wardround site status` and `accept-ledger`, and what approval says of delta and of exact sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from client.consent.approvals import Approvals
from client.exact_sums.cuts import opening
from client.exact_sums.sums_file import RECORDS
from client.exact_sums.sums_made import records_of
from client.ledger.accounts import LEDGER_FILE, ledger_of
from client.ledger.ledger import Entry
from client.preflight import preflight
from client.site import SiteFolder, read_site
from common.disk.audit import Audit, Failed, LedgerAccepted, Masked, Offered, Spent, SumsAccepted
from common.errors import BudgetError, PolicyError, RunError
from common.privacy.accounting import Release
from common.study import Study, study_text
from deploy.cli import commands
from tests.support.cuts import everyone
from tests.support.hospital import hospital, study_of, write_site

RUN = "0123456789abcdef"
PRIVACY: dict[str, Any] = {"mode": "local", "epsilon": 8.0, "sample_rate": 0.25, "expected_batch_size": 4.0}


@pytest.fixture
def north(tmp_path: Path) -> SiteFolder:
    return hospital(tmp_path / "north")


def private(root: Path, **privacy: Any) -> Study:
    study = study_of({"privacy": PRIVACY | privacy}, ["labs", "genes"])
    (root / "study.yaml").write_text(study_text(study), encoding="utf-8")
    return study


def call(root: Path, *arguments: str) -> Result:
    return CliRunner().invoke(commands, ["site", *arguments, "--at", str(root)])


def approve(root: Path) -> Result:
    return call(root, "approve", str(root / "study.yaml"), "--yes")


def done(result: Result) -> str:
    assert result.exception is None, (result.output, result.exception)
    return result.output


def audit(north: SiteFolder) -> Audit:
    return Audit(north.root / "state" / "audit.jsonl")


def test_a_larger_delta_is_refused_in_words_until_the_policy_allows_it(north: SiteFolder) -> None:
    private(north.root, delta=1e-3)
    refused = approve(north.root)
    assert isinstance(refused.exception, PolicyError)
    assert "delta is 0.001; policy.delta is 1e-05" in str(refused.exception)
    assert "site.yaml" in str(refused.exception) and not Approvals(north.root / "state").all()
    write_site(north.root, {"policy": {"delta": 1e-3}})
    done(approve(north.root))
    write_site(north.root, {"policy": {"delta": 1e-5}})
    checks = list(preflight(read_site(north.root)))
    assert any(check.well is False and "policy.delta is 1e-05" in check.sentence for check in checks)
    refused = CliRunner().invoke(
        commands, ["study", "check", str(north.root / "study.yaml"), "--hospitals", str(north.root.parent)]
    )
    assert "policy.delta is 1e-05" in done(refused)


def test_a_delta_above_one_over_the_patients_is_named_at_approval(north: SiteFolder) -> None:
    write_site(north.root, {"policy": {"delta": 9e-3}})
    private(north.root, delta=9e-3)
    assert "DELTA" not in done(approve(north.root)), "16 patients"
    more = hospital(north.root.parent / "south", 130)
    write_site(more.root, {"policy": {"delta": 9e-3}})
    private(more.root, delta=9e-3)
    assert "DELTA: 0.009 is above one over the 130 patients of records.csv" in done(approve(more.root))


def test_approval_and_status_say_whose_exact_sums_are_out(north: SiteFolder) -> None:
    private(north.root)
    assert "EXACT SUMS" not in done(approve(north.root)) + done(call(north.root, "status"))
    ledger_of(north.root / "state").note_exact(Entry("ab" * 32, RUN, 0, 1, "training", (), exact=True))
    for said in (done(approve(north.root)), done(call(north.root, "status"))):
        assert "EXACT SUMS ARE OUT: without differential privacy ran here abababababab." in said


def test_exact_sums_are_told_also_where_the_ledger_forgot_them(north: SiteFolder) -> None:
    """A ledger that lacked them was accepted, and status spoke of them no more."""
    study = study_of({"privacy": {"mode": "none"}}, ["labs", "genes"])
    (north.root / "study.yaml").write_text(study_text(study), encoding="utf-8")
    write_site(north.root, {"policy": {"require_privacy": False}})
    done(approve(north.root))
    assert "EXACT SUMS" not in done(call(north.root, "status"))
    records_of(north.root / "state").uploading(RUN, 1)
    audit(north).append(Masked(study.digest, RUN, 1, 0, 100))
    private(north.root)
    for said in (done(approve(north.root)), done(call(north.root, "status"))):
        assert f"without differential privacy ran here {study.digest[:12]}." in said


def test_status_says_what_is_spent_and_what_failed(north: SiteFolder) -> None:
    study = private(north.root)
    done(approve(north.root))
    ledger = ledger_of(north.root / "state")
    ledger.spend(Entry(study.digest, RUN, 1, 1, "training", (Release("training", 2.0, 0.25, 10),)), 8, 1e-5)
    said = done(call(north.root, "status"))
    assert f"epsilon {ledger.spent(1e-5):.3f} of 8 is spent at delta 1e-05" in said and "FAILED" not in said
    assert f"({study.study}): takes part" in said
    audit(north).append(Failed(study.digest, RUN, 3, "training", "RuntimeError", "forward", 17))
    said = done(call(north.root, "status"))
    assert "round 3: training with RuntimeError at forward, line 17" in said
    assert f"wardround site pause {study.digest[:12]}" in said


def test_a_ledger_that_is_gone_is_accepted_by_a_person_and_on_record(north: SiteFolder) -> None:
    study = private(north.root)
    done(approve(north.root))
    audit(north).append(Spent(study.digest, RUN, 1, "training", 0.5))
    for refused in (approve(north.root), call(north.root, "status")):
        assert isinstance(refused.exception, BudgetError) and "accept-ledger" in str(refused.exception)
    assert "Not accepted" in call(north.root, "accept-ledger").output or call(north.root, "accept-ledger").exit_code
    assert isinstance(approve(north.root).exception, BudgetError)
    assert "Accepted, and on record" in done(call(north.root, "accept-ledger", "--yes"))
    *_, last = audit(north).events()
    assert last.event == LedgerAccepted(1, held=0)
    assert "went on with a ledger that lacked 1 charges" in done(call(north.root, "status"))
    done(approve(north.root))
    assert "Nothing was changed" in done(call(north.root, "accept-ledger"))
    assert not (north.root / "state" / LEDGER_FILE).exists()


def test_records_of_sums_that_are_gone_are_accepted_by_a_person_and_on_record(north: SiteFolder) -> None:
    assert "EVERY SUM IS REFUSED" not in done(call(north.root, "status"))
    audit(north).append(Offered("a" * 64, RUN, 3))
    records = records_of(north.root / "state")
    assert "EVERY SUM IS REFUSED" in done(call(north.root, "status"))
    assert any(check.well is False and "accept-sums" in check.sentence for check in preflight(read_site(north.root)))
    with pytest.raises(RunError, match="accept-sums"):
        records.offering(RUN, 4)
    assert call(north.root, "accept-sums").exit_code
    with pytest.raises(RunError, match="accept-sums"):
        records.offering(RUN, 4)
    assert "Accepted, and on record" in done(call(north.root, "accept-sums", "--yes"))
    *_, last = audit(north).events()
    assert last.event == SumsAccepted(1, held=0)
    records.offering(RUN, 4)
    assert "Nothing was changed" in done(call(north.root, "accept-sums"))


def test_cuts_that_are_gone_are_accepted_the_same_way_and_guarded_again(north: SiteFolder) -> None:
    state, cut = north.root / "state", everyone({"one": "train", "other": "test"})
    opening(state, "a" * 64, cut, 1)
    assert "EVERY SUM IS REFUSED" not in done(call(north.root, "status"))
    (state / "cuts.json").unlink()
    assert "EVERY SUM IS REFUSED" in done(call(north.root, "status"))
    for _ in range(2):
        with pytest.raises(RunError, match="accept-sums"):
            opening(state, "b" * 64, everyone({"one": "test"}), 1)
        assert call(north.root, "accept-sums").exit_code, "nobody said yes"
    assert "10 entries" in done(call(north.root, "accept-sums", "--yes"))
    opening(state, "b" * 64, cut, 1)
    audit(north).append(Offered("a" * 64, RUN, 3))
    done(call(north.root, "accept-sums", "--yes"))
    (state / "cuts.json").unlink()
    with pytest.raises(RunError, match="accept-sums"):
        opening(state, "b" * 64, cut, 1)


def test_damaged_cuts_have_a_way_out(north: SiteFolder) -> None:
    """It named a backup alone; where there was none, `accept-sums` ended with the same sentence."""
    state, cut = north.root / "state", everyone({"one": "train", "other": "test"})
    opening(state, "a" * 64, cut, 1)
    (state / "cuts.json").write_text("{")
    refused = call(north.root, "accept-sums", "--yes")
    assert isinstance(refused.exception, RunError)
    assert "move it away" in str(refused.exception) and "accept-sums" in str(refused.exception)
    (state / "cuts.json").rename(state / "cuts.damaged")
    assert "Accepted, and on record" in done(call(north.root, "accept-sums", "--yes"))
    opening(state, "b" * 64, cut, 1)


def test_cuts_are_guarded_also_where_accept_sums_was_killed_behind_its_line(north: SiteFolder) -> None:
    state, cut = north.root / "state", everyone({"one": "train", "other": "test"})
    opening(state, "a" * 64, cut, 1)
    audit(north).append(SumsAccepted(1))
    opening(state, "a" * 64, cut, 1)
    (state / "cuts.json").unlink()
    with pytest.raises(RunError, match="accept-sums"):
        opening(state, "b" * 64, everyone({"one": "test"}), 1)


@pytest.mark.parametrize("harm", ["deleted", "put back"])
def test_a_ledger_that_was_accepted_is_guarded_from_then_on(north: SiteFolder, harm: str) -> None:
    """Nothing was charged since: yet what it had when it was accepted may not go."""
    state, copies = north.root / "state", list[bytes]()
    entries = [Entry("a" * 64, RUN, number, 1, "training", (Release("training", 2.0, 0.25, 10),)) for number in (1, 2)]
    for entry in entries:
        ledger_of(state).spend(entry, 8, 1e-5)
        audit(north).append(Spent(entry.study, RUN, entry.round, "training", 0.5))
        copies.append((state / LEDGER_FILE).read_bytes())
    audit(north).append(Spent("a" * 64, RUN, 3, "training", 0.5))
    assert "1 charges" in done(call(north.root, "accept-ledger", "--yes"))
    lost(state / LEDGER_FILE, copies[0] if harm == "put back" else None)
    with pytest.raises(BudgetError, match="accept-ledger"):
        ledger_of(state).spent(1e-5)
    (state / LEDGER_FILE).write_bytes(copies[1])
    assert len(ledger_of(state).entries()) == 2
    lost(state / LEDGER_FILE, copies[0] if harm == "put back" else None)
    assert ("1" if harm == "put back" else "2") + " charges" in done(call(north.root, "accept-ledger", "--yes"))
    assert len(ledger_of(state).entries()) == (harm == "put back")


@pytest.mark.parametrize("harm", ["deleted", "put back"])
def test_records_of_sums_that_were_accepted_are_guarded_from_then_on(north: SiteFolder, harm: str) -> None:
    state, copies = north.root / "state", list[bytes]()
    for number in (4, 5):
        records_of(state).offering(RUN, number)
        records_of(state).uploading(RUN, number)
        audit(north).append(Offered("a" * 64, RUN, number))
        audit(north).append(Masked("a" * 64, RUN, number, 1, 100))
        copies.append((state / RECORDS).read_bytes())
    audit(north).append(Offered("a" * 64, "f" * 16, 1))
    done(call(north.root, "accept-sums", "--yes"))
    lost(state / RECORDS, copies[0] if harm == "put back" else None)
    with pytest.raises(RunError, match="accept-sums"):
        records_of(state).offering(RUN, 6)
    (state / RECORDS).write_bytes(copies[1])
    records_of(state).offering(RUN, 6)
    lost(state / RECORDS, copies[0] if harm == "put back" else None)
    assert "Sums of 1 runs" in done(call(north.root, "accept-sums", "--yes"))
    records_of(state).offering(RUN, 6)


def lost(file: Path, older: bytes | None) -> None:
    """Deleted, or put back from a copy."""
    file.unlink() if older is None else file.write_bytes(older)
