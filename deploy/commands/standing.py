"""`wardround site status|accept-ledger|accept-sums`: how the site stands, and decisions about what was put back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.commands.groups import at_site, site

if TYPE_CHECKING:
    from common.disk.audit import Audit
    from common.disk.audit_events import Event


@site.command("status")
@at_site
def site_status(folder: Path) -> None:
    """This site's studies, what its patients have spent, and what failed here."""
    from client.site import read_site
    from client.standing import standing

    for line in standing(read_site(folder)):
        click.echo(line)


@site.command("accept-ledger")
@click.option("--yes", is_flag=True, help="Do not ask.")
@at_site
def site_accept_ledger(yes: bool, folder: Path) -> None:
    """Go on with a ledger that lacks charges which the audit log has: it was put back, or deleted.

    What it lacks is not counted any more, and patients have then spent more than this site knows.
    """
    from client.ledger.accounts import LEDGER_FILE, charged_in
    from client.ledger.ledger import Ledger
    from client.site import read_site, state_of
    from common.disk.audit import AUDIT_FILE, Audit, LedgerAccepted

    state = state_of(read_site(folder))
    audit = Audit(state / AUDIT_FILE)
    charges = Ledger(state / LEDGER_FILE).charges()
    missing = charged_in(audit).lacking(charges)
    if not missing:
        click.echo("The ledger has every charge that the audit log has. Nothing was changed.")
        return
    click.echo(f"{missing} charges of the audit log are not in {state / LEDGER_FILE}. Is there a newer copy?")
    accepted = LedgerAccepted(missing, charges.total())
    _accept(audit, accepted, "Shall they not be counted any more, for good?", yes=yes)


@site.command("accept-sums")
@click.option("--yes", is_flag=True, help="Do not ask.")
@at_site
def site_accept_sums(yes: bool, folder: Path) -> None:
    """Go on with records of secure sums that lack some which the audit log has: they were put back, or deleted.

    Without differential privacy this site no longer knows then over which sites it was summed, or how studies cut its
    patients, and may answer over others: the difference of two such sums shows what few sites, or patients, added.
    """
    from client.exact_sums import cuts_file
    from client.exact_sums.sum_records import SumRecords
    from client.exact_sums.sums_file import RECORDS
    from client.exact_sums.sums_made import made_in
    from client.site import read_site, state_of
    from common.disk.audit import AUDIT_FILE, Audit, SumsAccepted

    state = state_of(read_site(folder))
    audit = Audit(state / AUDIT_FILE)
    records, made = SumRecords(state), made_in(audit)
    runs = records.lacking(made) if made.runs or made.held else 0
    file, lost = state / cuts_file.FILE, cuts_file.lacking(state)
    if not runs and not lost:
        click.echo("The records have every sum that the audit log has. Nothing was changed.")
        return
    if runs:
        click.echo(f"Sums of {runs} runs in the audit log are not in {state / RECORDS}. Is there a newer copy?")
    if lost:
        click.echo(f"{lost} entries that the audit log counts are not in {file}. Is there a newer copy?")
    _accept(audit, SumsAccepted(runs + lost, records.held()), "Shall this site go on without them, for good?", yes=yes)
    cuts_file.record(state)


def _accept(audit: Audit, event: Event, question: str, *, yes: bool) -> None:
    """Write on record what a person accepts; nothing where the answer is no."""
    if not yes and not click.confirm(question):
        click.echo("Not accepted. Nothing was changed.")
        raise click.exceptions.Exit(1)
    audit.append(event)
    click.echo("Accepted, and on record.")
