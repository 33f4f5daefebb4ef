"""What a round costs this site's patients: which accounts it charges, at which delta, before any of them is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client.ledger.accounts import judged_at, releases
from client.ledger.ledger import Entry
from common.disk.audit import Spent
from common.errors import ProtocolOrderError
from common.privacy.accounting import Release
from common.privacy.accounts import Account, accounts
from common.questions import questions_of

if TYPE_CHECKING:
    from client.round.session import Site
    from common.plan import RoundPlan
    from common.study import Study


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
    shown = (account for question in questions_of(plan.asks, study) for account in question.accounts(study))
    return tuple(dict.fromkeys(shown))


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
