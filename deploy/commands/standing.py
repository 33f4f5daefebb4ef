"""`wardround site status|accept-ledger`: how the site stands, and a decision about a ledger that was put back."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.commands.groups import at_site, site


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
    from client.charges import AUDIT_FILE, LEDGER_FILE, charged_in
    from client.ledger import Ledger
    from client.site import read_site, state_of
    from common.audit import Audit, LedgerAccepted

    state = state_of(read_site(folder))
    audit = Audit(state / AUDIT_FILE)
    missing = charged_in(audit) - Ledger(state / LEDGER_FILE).charges()
    if not missing:
        click.echo("The ledger has every charge that the audit log has. Nothing was changed.")
        return
    click.echo(f"{missing.total()} charges of the audit log are not in {state / LEDGER_FILE}. Is there a newer copy?")
    if not yes and not click.confirm("Shall they not be counted any more, for good?"):
        click.echo("Not accepted. Nothing was changed.")
        raise click.exceptions.Exit(1)
    audit.append(LedgerAccepted(missing.total()))
    click.echo("Accepted, and on record.")
