"""The accounts of a site's ledger: whose patients each is, what a plan releases from them, at which delta it judges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from client.ledger.ledger import Charges, Known, Ledger
from client.ledger.spending import Account
from common.disk.audit import AUDIT_FILE, Audit, LedgerAccepted, Spent
from common.privacy.accounting import Release
from common.privacy.plan import PrivacyPlan

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


def held_out(study: Study, part: Literal["validation", "test"]) -> Account:
    """Return the account of these patients. In studies of schema 0, validation and test patients share one."""
    return part if study.schema >= 1 else "held_out"


def accounts(study: Study) -> tuple[Account, ...]:
    """Return every account of a private study, each of different patients."""
    return tuple(dict.fromkeys(("training", held_out(study, "validation"), held_out(study, "test"))))


def releases(plan: RoundPlan, study: Study, privacy: PrivacyPlan) -> dict[Account, list[Release]]:
    """Return what the plan releases from the patients of each account that it touches."""
    found = {account: list[Release]() for account in accounts(study)}
    if plan.statistics:
        for charged in found.values():
            charged.append(privacy.statistics())
    if plan.evaluate:
        found[held_out(study, plan.evaluate)].append(privacy.evaluation_of(plan.evaluate))
    if plan.train:
        found["training"].append(privacy.training())
    return {account: charged for account, charged in found.items() if charged}


def judged_at(policy: Policy, privacy: PrivacyPlan | Privacy) -> float:
    """Return the delta at which the ledger judges this study: the hospital's one number, or the study's if smaller."""
    return min(policy.delta, privacy.delta)
