"""The bytes of the audit log and of the ledger: these lines for these entries, in this release as in those before."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from client.ledger.ledger import Entry, Ledger
from common.disk.audit import Audit, Joined, Offered, Started
from common.disk.audit import Spent as Charged
from common.privacy.accounting import Kind, Release

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
runs = st.text("0123456789abcdef", min_size=16, max_size=16)
counts = st.integers(0, 2**40)
accounts = st.sampled_from(["training", "validation", "test"])
releases = st.builds(
    Release, st.sampled_from(get_args(Kind)), st.sampled_from([0.7, 2.0, 31.5]), st.just(1.0), st.integers(1, 3)
)
entries = st.builds(
    Entry, digests, runs, counts, counts, accounts, st.lists(releases, max_size=2).map(tuple), digests, st.just(False)
)
events = (
    st.builds(Started, st.sampled_from(["0.2.0", "10.0.1rc1"]))
    | st.builds(Joined, digests, runs, counts)
    | st.builds(Offered, digests, runs, counts)
    | st.builds(Charged, digests, runs, counts, accounts, st.floats(0, 9))
)


def text(values: dict[str, Any], **how: Any) -> str:
    return json.dumps(values, separators=(",", ":"), **how)


@given(st.lists(entries, max_size=3, unique_by=lambda entry: entry.key))
@settings(max_examples=15, deadline=None)
def test_a_ledger_is_these_bytes(spent: list[Entry]) -> None:
    """Each seal is SHA-256 over the one before, a line feed and the entry with its keys in order."""
    with tempfile.TemporaryDirectory() as name:
        ledger, due, seal = Ledger(Path(name) / "ledger.jsonl"), "", ""
        for entry in spent:
            assert ledger.spend(entry, 1e300, 1e-5, "rdp")
            said = {"format": 1, **asdict(entry)}
            seal = hashlib.sha256(f"{seal}\n{text(said, sort_keys=True)}".encode()).hexdigest()
            due += text({**said, "seal": seal}) + "\n"
        path = Path(name) / "ledger.jsonl"
        assert (path.read_text() if spent else "") == due
        assert Ledger(path).entries() == spent


@given(st.lists(events, min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_an_audit_log_is_these_bytes(happened: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        audit, due, before = Audit(Path(name) / "audit.jsonl"), "", "0" * 64
        for event in happened:
            audit.append(event)
        for record in audit.events():
            head = {"sequence": record.sequence, "time": f"{record.time:%Y-%m-%dT%H:%M:%SZ}"}
            body = (
                head | {"event": type(record.event).__name__, "format": 1} | asdict(record.event) | {"before": before}
            )
            before = hashlib.sha256(b"wardround audit line 1\0" + text(body).encode()).hexdigest()
            due += text({**body, "hash": before}) + "\n"
        assert (Path(name) / "audit.jsonl").read_text() == due
        assert [record.event for record in audit.events()] == happened
