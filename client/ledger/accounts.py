"""The accounts of a site's ledger: what a plan releases from their patients, and at which delta the site judges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from client.ledger.ledger import Charges, Known, Ledger
from common.disk.audit import AUDIT_FILE, Audit, LedgerAccepted, Spent
from common.privacy.accounting import Release
from common.privacy.accounts import Account, accounts
from common.privacy.plan import PrivacyPlan
from common.questions import questions_of

if TYPE_CHECKING:
    from client.site import Policy
    from common.plan import RoundPlan
    from common.study import Privacy, Study

LEDGER_FILE = "ledger.jsonl"


def ledger_of(state: Path) -> Ledger:
    """Return the ledger of a state folder, held against the audit log beside it."""
    return Ledger(state / LEDGER_FILE, lambda: charged_in(Audit(state / AUDIT_FILE)))


def charged_in(audit: Audit) -> Known:
    """Return the charges that the log has since a person last accepted a ledger that lacked some, and how many entries
    that one had.

    A log that is gone, or lines that cannot be read, have none: that must not stop an honest site.
    """
    found: Charges = Counter()
    held = 0
    for event in audit.readable(Spent, LedgerAccepted):
        if isinstance(event, LedgerAccepted):
            found.clear()
            held = event.held
        elif isinstance(event, Spent):
            found[event.study, event.run, event.round, event.account] += 1
    return Known(found, held)


def releases(plan: RoundPlan, study: Study, privacy: PrivacyPlan) -> dict[Account, list[Release]]:
    """Return what the plan releases from the patients of each account that it touches."""
    found: dict[Account, list[Release]] = {account: [] for account in accounts(study)}
    for question in questions_of(plan.asks, study):
        for account in question.accounts(study):
            found.setdefault(account, []).append(question.release(privacy))
    return {account: charged for account, charged in found.items() if charged}


def judged_at(policy: Policy, privacy: PrivacyPlan | Privacy) -> float:
    """Return the delta at which the ledger judges this study: the hospital's one number, or the study's if smaller."""
    return min(policy.delta, privacy.delta)
