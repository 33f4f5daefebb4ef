"""What a round costs this site's patients: which accounts it charges, at which delta, before any of them is touched."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from client.ledger import Charges, Entry, Known, Ledger
from client.spending import Account
from common.disk.audit import AUDIT_FILE, Audit, LedgerAccepted, Masked, SentUnmasked, Spent
from common.errors import ProtocolOrderError, WardroundError
from common.privacy.accounting import Release
from common.privacy.plan import PrivacyPlan

if TYPE_CHECKING:
    from client.session import Site
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


def charge(plan: RoundPlan, site: Site) -> None:
    """Write what the plan releases into the ledger, on disk when this returns; BudgetError where it does not fit.

    Of a study without privacy an entry says that exact sums are out, and refuses nothing.
    """
    privacy = site.privacy
    if privacy is None:
        for account in _exact(plan, site.study):
            site.ledger.note_exact(_entry(plan, site, account, (), exact=True))
        return
    delta = judged_at(site.policy, privacy)
    for account, charged in releases(plan, site.study, privacy).items():
        entry = _entry(plan, site, account, tuple(charged))
        if not site.ledger.spend(entry, privacy.epsilon, delta, privacy.accountant):
            raise ProtocolOrderError("This attempt was paid for before, and its answer is no longer here.")
        spent = site.ledger.spent(delta, account, privacy.accountant, plan.study)
        site.audit.append(Spent(plan.study, plan.run, plan.round, account, spent))


def _exact(plan: RoundPlan, study: Study) -> tuple[Account, ...]:
    """The accounts whose patients' exact sums a plan of a study without privacy shows."""
    if plan.statistics:
        return accounts(study)
    found: list[Account] = ["training"] if plan.train else []
    return (*found, held_out(study, plan.evaluate)) if plan.evaluate else tuple(found)


def _entry(plan: RoundPlan, site: Site, account: Account, charged: tuple[Release, ...], exact: bool = False) -> Entry:
    return Entry(plan.study, plan.run, plan.round, plan.attempt, account, charged, site.split, exact)


def certified(site: Site) -> tuple[float, float]:
    """Return the epsilon of training and of held-out patients by now, over all studies; -1 without privacy."""
    privacy, study = site.privacy, site.study
    if privacy is None:
        return -1.0, -1.0
    delta = judged_at(site.policy, privacy)
    first, *others = (site.ledger.spent(delta, one, privacy.accountant, study.digest) for one in accounts(study))
    return first, max(others)


def exact_in(state: Path) -> frozenset[str]:
    """Return the digests of the studies without privacy whose exact sums are out, by the ledger of this state folder
    and, should it have lost some, by the audit log beside it.
    """
    from client.consent.approvals import kept_study

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
