"""Which studies without privacy have shown exact sums of this site's patients: a sentence for whoever decides here."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from client.consent.approvals import kept_study
from client.ledger.accounts import ledger_of
from common.disk.audit import AUDIT_FILE, Audit, Masked, SentUnmasked
from common.errors import WardroundError


def exact_in(state: Path) -> frozenset[str]:
    """Return the digests of the studies without privacy whose exact sums are out, by the ledger of this state folder
    and, should it have lost some, by the audit log beside it.
    """
    found = set(ledger_of(state).exact())
    events = Audit(state / AUDIT_FILE).readable(Masked, SentUnmasked)
    for study in {event.study for event in events if isinstance(event, Masked | SentUnmasked)} - found:
        with suppress(WardroundError):  # a study whose text is gone
            found |= set() if kept_study(state, study).private else {study}
    return frozenset(found)


def exact_sums(state: Path) -> str:
    """Return the sentence about studies without privacy that ran here; nothing where there were none."""
    exact = sorted(exact_in(state))
    if not exact:
        return ""
    return (
        f"EXACT SUMS ARE OUT: without differential privacy ran here {', '.join(digest[:12] for digest in exact)}. No "
        "epsilon holds for what their sums show of these patients; what another study promises holds for that study "
        "alone."
    )
