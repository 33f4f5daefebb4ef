"""`wardround site enrol|rotate|join|identity`: a site's keys, and whom it believes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.commands.documents import (
    FILE,
    PATH,
    authority_lines,
    hand_out,
    require_yes,
    roster_lines,
    say,
    show_request,
    yes_option,
)
from deploy.commands.groups import at_site, site

if TYPE_CHECKING:
    from client.membership.enrolment import SitePlace
    from client.membership.joining import Changes

_name = click.option("--name", default=None, help="The site's name, while there is no site.yaml that says it.")
_request_out = click.option("--out", type=PATH, default=None, help="File for the request; else it is printed.")


@site.command("enrol")
@at_site
@_name
@_request_out
@click.option("--new-keys", is_flag=True, help="Others than before: for a site that was removed and shall return.")
def site_enrol(folder: Path, name: str | None, out: Path | None, new_keys: bool) -> None:
    """Make this site's keys, which never leave it, and the request for the coordinator."""
    from client.membership.enrolment import SitePlace, enrol

    place = SitePlace.at(folder, name)
    if new_keys:
        _say_waiting(place)
    request = enrol(place, new_keys=new_keys)
    hand_out(request.to_text(), out)
    show_request(request)
    say("Send the request to the coordinator, and read it the signing key's fingerprint by telephone.")


@site.command("rotate")
@at_site
@_request_out
def site_rotate(folder: Path, out: Path | None) -> None:
    """Make new keys beside the old ones, and the request to change over. The old ones serve until the new kit."""
    from client.membership.enrolment import SitePlace, rotate

    place = SitePlace.at(folder)
    _say_waiting(place)
    request = rotate(place)
    hand_out(request.to_text(), out)
    show_request(request)
    say("Send the request to the coordinator. The new keys come into use with `wardround site join KIT`.")


def _say_waiting(place: SitePlace) -> None:
    from client.membership.enrolment import NEXT

    if place.pending:
        waiting = f"{place.identity / NEXT} and {place.connector / NEXT}"
        say(f"New keys, made before, wait for a kit: it is them again. To make others, remove {waiting} first.")


@site.command("join")
@click.argument("kit", type=FILE)
@at_site
@yes_option
@click.option(
    "--replace",
    is_flag=True,
    help="Leave the consortium that this site belongs to, or go back to an older roster of it.",
)
def site_join(kit: Path, folder: Path, yes: bool, replace: bool) -> None:
    """Show what KIT changes, ask, and pin it: the coordinator's address and authority, and the roster."""
    from client.membership.enrolment import SitePlace
    from client.membership.joining import compare, join
    from common.identity.enrolment import Kit

    place, read = SitePlace.at(folder), Kit.read(kit)
    changes = compare(place, read, replace=replace)
    _show_changes(changes)
    question = "Have you compared these with the coordinator, and new keys with their sites, by telephone?"
    if not changes.none:
        require_yes(question, yes)
    join(place, read, replace=replace)
    next_step = (
        f"Then: `wardround site approve STUDY.yaml --at {folder}` for each study that it takes part in."
        if changes.first
        else "Restart its daemons to use this."
    )
    say(f"Site {place.name!r} has joined consortium {read.consortium!r}. {next_step}")


def _show_changes(changes: Changes) -> None:
    from common.identity.enrolment import address
    from common.identity.roster import fingerprint

    kit = changes.kit
    if changes.replaces is not None:
        say(f"LEAVES       consortium {changes.replaces}")
    say(f"Consortium   {kit.consortium}")
    say(f"Coordinator  {address(kit.host, kit.port)}" + (f", before {changes.moved}" if changes.moved else ""))
    say(authority_lines(kit.ca_certificate))
    say(f"Roster       {fingerprint(kit.roster.digest)}  (serial {kit.serial}, {len(kit.sites)} sites)")
    if changes.reverts is not None:
        say(f"GOES BACK    from the roster with serial {changes.reverts}")
    width = max(map(len, ("before", *changes.added, *changes.removed, *changes.changed)))
    for name, now in changes.added.items():
        say(f"  added    {name:<{width}}  {now}")
    for name, now in changes.removed.items():
        say(f"  removed  {name:<{width}}  {now}")
    for name, (before, now) in changes.changed.items():
        say(f"  new key  {name:<{width}}  {now}\n           {'before':<{width}}  {before}")
    if changes.none:
        say("  nothing is new to this site")


@site.command("identity")
@at_site
def site_identity(folder: Path) -> None:
    """Show this site's fingerprint, and the roster that it has pinned."""
    from client.membership.enrolment import SitePlace
    from common.identity.roster import fingerprint

    place = SitePlace.at(folder)
    click.echo(f"Site         {place.name}")
    click.echo(f"Signing key  {fingerprint(place.signing_key().public)}")
    if place.pending:
        click.echo("             A new key waits for the coordinator's kit.")
    roster = place.roster()
    if roster is None:
        click.echo("Not joined: no roster is pinned here.")
        return
    click.echo(f"Consortium   {roster.consortium}")
    authority = place.authority()
    click.echo(authority_lines(authority) if authority else "Authority    none pinned")
    click.echo(f"Roster       {fingerprint(roster.digest)}  (serial {roster.serial})")
    for line in roster_lines(roster.sites):
        click.echo(line)
