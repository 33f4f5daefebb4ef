"""`wardround site allow-set`: a person's decision that a hospital may be computed from two sums without privacy."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.commands.groups import at_site, site


@site.command("allow-set")
@click.argument("names", metavar="SITE...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@at_site
def site_allow_set(names: tuple[str, ...], folder: Path, yes: bool) -> None:
    """Allow sums of studies without differential privacy over exactly these sites, this one among them.

    For a new hospital: sums were opened without it before, and their difference shows what it adds. It holds
    for whom you are told of: when such a sum shows others by then, it is refused, and you are asked again.
    """
    from client.consent.approvals import most_colluding
    from client.exact_sums.sum_records import SumRecords
    from client.membership.identity import SiteIdentity
    from client.site import read_site, state_of
    from common.disk.audit import AUDIT_FILE, AllowedSet, Audit

    here = read_site(folder)
    state = state_of(here)
    roster = SiteIdentity.read(here.file.site, state / "identity").roster
    sites, records = sorted(set(names)), SumRecords(state)
    _require_named(sites, here.file.site, set(roster.sites))
    keys = {name: roster.sites[name].hex() for name in sites}
    told = records.showing(keys, most_colluding(state))
    for line in records.in_words(told, keys):
        click.echo(line)
    if not yes and not click.confirm(f"Shall sums over {', '.join(sites)} be given, as long as they show nobody else?"):
        click.echo("Not allowed. Nothing was changed.")
        raise click.exceptions.Exit(1)
    Audit(state / AUDIT_FILE).append(AllowedSet(len(sites)))
    records.allow(keys, told)
    click.echo("Allowed, and on record. Every other site of them has to allow the same set.")


def _require_named(sites: list[str], mine: str, there: set[str]) -> None:
    """PolicyError where these are no sites that a sum with this one can be over."""
    from common.errors import PolicyError

    if unknown := sorted(set(sites) - there):
        raise PolicyError(f"The roster pinned here has no {', '.join(unknown)}. Its sites: {', '.join(sorted(there))}.")
    if mine not in sites or len(sites) < 3:
        raise PolicyError(f"A sum that {mine} adds to is over {mine} and two other sites at least: name all of them.")
