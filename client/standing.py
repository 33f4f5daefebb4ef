"""How this site stands, for `wardround site status`: its studies, what its patients spent, and what failed here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from client.consent.approvals import AGAIN, Approval, Approvals, kept_name, kept_study
from client.consent.exact import exact_sums
from client.data.accepted import doubt_of
from client.data.exclusions import found_here
from client.data.left_out import said_of, staying_out
from client.exact_sums.cuts_file import require_whole
from client.exact_sums.sums_made import records_of
from client.ledger.accounts import judged_at, ledger_of
from client.ledger.ledger import Ledger
from client.site import SiteFolder, state_of
from common.disk.audit import AUDIT_FILE, Audit, Failed, LedgerAccepted
from common.errors import WardroundError

SHOWN = 12  # digits of a digest


def standing(folder: SiteFolder) -> Iterator[str]:
    """Return lines of text. Raises what is wrong with the ledger, the audit log or the approvals."""
    state = state_of(folder)
    studies, ledger = Approvals(state).all(), ledger_of(state)
    for digest, approval in studies.items():
        yield f"Study {digest[:SHOWN]} ({kept_name(state, digest)}): {stands(approval)}"
        yield f"  {_spent(folder, ledger, digest)}"
    if not studies:
        yield "No study. Approve one: wardround site approve STUDY.yaml"
    if exact := exact_sums(state):
        yield exact
    yield from _accepted(Audit(state / AUDIT_FILE))
    yield from _records(state)
    if folder.file.exclusions is not None:
        yield from _opt_outs(folder)
    yield from _failures(Audit(state / AUDIT_FILE))


def stands(approval: Approval) -> str:
    """Return in a few words what a person decided."""
    if approval.withdrawn:
        return "withdrawn, for good"
    if approval.outdated:
        return ("paused; " if approval.paused else "") + AGAIN
    return "paused" if approval.paused else "takes part" if approval.approved else "not approved"


def _spent(folder: SiteFolder, ledger: Ledger, digest: str) -> str:
    try:
        study = kept_study(state_of(folder), digest)
        if not study.private:
            return "no differential privacy: nothing limits what is shown of patients"
        privacy, delta = study.privacy, judged_at(folder.file.policy, study.privacy)
        spent = ledger.spent(delta, None, privacy.accountant, digest)
        return f"epsilon {spent:.3f} of {privacy.epsilon:g} is spent at delta {delta:g}, over all studies"
    except WardroundError as error:
        return f"cannot be told: {error}"


def _accepted(audit: Audit) -> Iterator[str]:
    """What a person went on without: until then the figures say less than is true."""
    for record in audit.events():
        if isinstance(record.event, LedgerAccepted):
            yield (
                f"On {record.time:%Y-%m-%d} a person went on with a ledger that lacked {record.event.entries} charges: "
                "more is spent than is said here."
            )


def _records(state: Path) -> Iterator[str]:
    """What the agent would refuse every sum for."""
    for look in (records_of(state).kept, lambda: require_whole(state)):
        try:
            look()
        except WardroundError as error:
            yield f"EVERY SUM IS REFUSED. {error}"


def _opt_outs(folder: SiteFolder) -> Iterator[str]:
    """A list that a person should look at: no study says so to anybody else, and private ones go on meanwhile."""
    try:
        state, found = state_of(folder), found_here(folder)
        if doubt := doubt_of(state, found):
            yield f"LOOK AT THE OPT-OUTS. {doubt}. Studies without privacy stop until then; others go on, without those"
            yield "whom the list finds, and whom it ever left out."
        if number := staying_out(state, found):
            yield f"The list of opt-outs: {found.said()}. {said_of(number)}"
    except WardroundError as error:
        yield f"The list of opt-outs: {error}"


def _failures(audit: Audit) -> Iterator[str]:
    found = [record for record in audit.events() if isinstance(record.event, Failed)]
    for record in found[-10:]:
        yield told(record.event, record.time) if isinstance(record.event, Failed) else ""
    if found:
        last = found[-1].event
        assert isinstance(last, Failed)
        yield f"To stop: wardround site pause {last.study[:SHOWN]}"


def told(event: Failed, when: datetime) -> str:
    """Return the sentence about one failure."""
    return (
        f"FAILED {when:%Y-%m-%d %H:%M} UTC, study {event.study[:SHOWN]}, round {event.round}: {event.part} with "
        f"{event.error} at {event.place}, line {event.line}. Noise alone was sent in its place, or without the "
        "patients of whom it failed; it was paid for."
    )
