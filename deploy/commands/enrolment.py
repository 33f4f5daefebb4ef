"""`wardround consortium …` and `wardround site enrol|join|rotate|identity`: who belongs together, and how they know.

Requests and kits go to a file or to standard output; all that is said to people goes to standard error, so that
`wardround site enrol > request.yaml` is whole.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.commands.groups import at_site, consortium, site

if TYPE_CHECKING:
    from client.enrolment import Changes, SitePlace
    from common.enrolment import Request
    from server.consortium import Consortium

_PATH = click.Path(path_type=Path)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_at = click.option("--at", type=_PATH, default=Path("consortium"), show_default=True, help="The consortium's folder.")
_yes = click.option("--yes", is_flag=True, help="Do not ask; the fingerprints have been compared.")
_request_out = click.option("--out", type=_PATH, default=None, help="File for the request; else it is printed.")
_kit_out = click.option("--out", type=_PATH, default=None, help="File for the kit; else it is printed.")
_name = click.option("--name", default=None, help="The site's name, while there is no site.yaml that says it.")


def _say(text: str = "") -> None:
    click.echo(text, err=True)


def _hand_out(text: str, out: Path | None) -> None:
    """A document of public things, to a file or to standard output."""
    from common.whole_file import PUBLIC, write_whole

    if out is None:
        click.echo(text, nl=False)
        return
    write_whole(out, text.encode(), PUBLIC)
    _say(f"Wrote {out}.")


def _agreed(question: str, yes: bool) -> bool:
    if yes or click.confirm(question, err=True):
        return True
    _say("Nothing was changed.")
    return False


# -------------------------------------------------------------------------------------------------- at the coordinator


@consortium.command("new")
@click.argument("name")
@click.option("--host", required=True, metavar="DNS-OR-IP", help="Where sites reach the coordinator.")
@click.option("--also", multiple=True, metavar="NAME", help="Another name or address of it; repeatable.")
@click.option("--port", type=click.IntRange(1, 65535), default=9443, show_default=True)
@_at
def consortium_new(name: str, host: str, also: tuple[str, ...], port: int, at: Path) -> None:
    """Make a consortium: its certificate authority, its server's certificate, and a roster without sites."""
    from server.consortium import Consortium

    made = Consortium.new(at, name, host, also=also, port=port)
    _say(f"Made consortium {made.name!r} in {at}. Sites will call {made.address}.")
    _say(f"Authority  {made.fingerprint}  (sites compare this when they join)")
    _say(f"Keep {at}/ca/ca.key secret, and a copy of {at} in a safe place.")
    _say("Next: each hospital runs `wardround site enrol`, and you `wardround consortium admit REQUEST`.")


@consortium.command("admit")
@click.argument("request", type=_FILE)
@_at
@_kit_out
@_yes
def consortium_admit(request: Path, at: Path, out: Path | None, yes: bool) -> None:
    """Admit the site of REQUEST, or its new key, and hand out its kit."""
    from common.enrolment import Request
    from server.consortium import Consortium

    now, asked = Consortium.read(at), Request.read(request)
    now.require_new(asked)
    _show_request(asked)
    if not _agreed(f"Did site {asked.site!r} read the same to you, by telephone?", yes):
        raise click.exceptions.Exit(1)
    then = now.admit(asked)
    _hand_out(then.kit(asked.site).to_text(), out)
    _say(f"Site {asked.site!r} is a member, of {len(then.roster.sites)}. Send it its kit.")
    if len(then.roster.sites) > 1:
        _say("The other sites need the new roster too: `wardround consortium kits --out FOLDER`, one file each.")


def _show_request(asked: Request) -> None:
    from common.identity import fingerprint

    _say(f"Site         {asked.site}")
    if asked.previous is not None:
        _say(f"Key before   {fingerprint(asked.previous)}")
    _say(f"Signing key  {fingerprint(asked.public)}  (signs all of the request: compare this one)")
    _say(f"Node key     {fingerprint(asked.node_key.encode())}")


@consortium.command("kit")
@click.argument("name", metavar="SITE")
@_at
@_kit_out
def consortium_kit(name: str, at: Path, out: Path | None) -> None:
    """Hand out the kit of SITE again, with the roster as it is now."""
    from server.consortium import Consortium

    _hand_out(Consortium.read(at).kit(name).to_text(), out)


@consortium.command("kits")
@click.option("--out", type=_PATH, required=True, help="Folder to write SITE.yaml files into.")
@_at
def consortium_kits(out: Path, at: Path) -> None:
    """Write the kits of all sites, after one came or went."""
    from server.consortium import Consortium

    written = Consortium.read(at).write_kits(out)
    _say(f"Wrote {len(written)} kits to {out}. Send each site its own; it runs `wardround site join KIT`.")


@consortium.command("remove")
@click.argument("name", metavar="SITE")
@_at
@_yes
def consortium_remove(name: str, at: Path, yes: bool) -> None:
    """Take SITE off the roster: it can no longer connect, and no run starts with it."""
    from server.consortium import Consortium

    now = Consortium.read(at)
    now.require_site(name)
    if not _agreed(f"Remove site {name!r} from consortium {now.name!r}?", yes):
        raise click.exceptions.Exit(1)
    then = now.remove(name)
    _say(f"Site {name!r} is no member; {len(then.roster.sites)} are left. What it contributed stays in past models.")
    _say("The other sites need the new roster: `wardround consortium kits --out FOLDER`.")
    _say("A running coordinator takes its node key off within a second, and never lets it in again: a site that shall")
    _say("return makes new keys with `wardround site enrol --new-keys`.")


@consortium.command("renew")
@_at
def consortium_renew(at: Path) -> None:
    """Make the server's certificate new, for the names in consortium.yaml; sites notice nothing."""
    from server.consortium import Consortium

    then = Consortium.read(at).renew()
    _say(f"Made {then.server_certificate} new, until {_until(then)}. Start the coordinator again to use it.")


@consortium.command("show")
@_at
def consortium_show(at: Path) -> None:
    """Show the consortium, its sites and their fingerprints."""
    from common.authority import term
    from common.identity import fingerprint
    from server.consortium import Consortium

    now = Consortium.read(at)
    click.echo(f"Consortium   {now.name}")
    click.echo(f"Coordinator  {now.address}, certificate until {_until(now)}")
    click.echo(f"Authority    {now.fingerprint}")
    click.echo(f"             {term(now.ca_certificate.decode(), datetime.now(UTC))}")
    click.echo(f"Roster       {fingerprint(now.roster.digest)}  (serial {now.roster.serial})")
    click.echo(f"Sites        {len(now.roster.sites)}")
    for name, key in now.roster.sites.items():
        click.echo(f"  {name:<40} {fingerprint(key)}")


def _until(now: Consortium) -> str:
    from server.certificates import not_after

    return f"{not_after(now.server_certificate.read_bytes()):%Y-%m-%d}"


# ------------------------------------------------------------------------------------------------------ at a hospital


@site.command("enrol")
@at_site
@_name
@_request_out
@click.option("--new-keys", is_flag=True, help="Others than before: for a site that was removed and shall return.")
def site_enrol(folder: Path, name: str | None, out: Path | None, new_keys: bool) -> None:
    """Make this site's keys, which never leave it, and the request for the coordinator."""
    from client.enrolment import SitePlace, enrol

    place = SitePlace.at(folder, name)
    if new_keys:
        _say_waiting(place)
    request = enrol(place, new_keys=new_keys)
    _hand_out(request.to_text(), out)
    _show_request(request)
    _say("Send the request to the coordinator, and read it the signing key's fingerprint by telephone.")


@site.command("rotate")
@at_site
@_request_out
def site_rotate(folder: Path, out: Path | None) -> None:
    """Make new keys beside the old ones, and the request to change over. The old ones serve until the new kit."""
    from client.enrolment import SitePlace, rotate

    place = SitePlace.at(folder)
    _say_waiting(place)
    request = rotate(place)
    _hand_out(request.to_text(), out)
    _show_request(request)
    _say("Send the request to the coordinator. The new keys come into use with `wardround site join KIT`.")


def _say_waiting(place: SitePlace) -> None:
    from client.enrolment import NEXT

    if place.pending:
        waiting = f"{place.identity / NEXT} and {place.connector / NEXT}"
        _say(f"New keys, made before, wait for a kit: it is them again. To make others, remove {waiting} first.")


@site.command("join")
@click.argument("kit", type=_FILE)
@at_site
@_yes
@click.option(
    "--replace",
    is_flag=True,
    help="Leave the consortium that this site belongs to, or go back to an older roster of it.",
)
def site_join(kit: Path, folder: Path, yes: bool, replace: bool) -> None:
    """Show what KIT changes, ask, and pin it: the coordinator's address and authority, and the roster."""
    from client.enrolment import SitePlace, compare, join
    from common.enrolment import Kit

    place, read = SitePlace.at(folder), Kit.read(kit)
    changes = compare(place, read, replace=replace)
    _show_changes(changes)
    question = "Have you compared these with the coordinator, and new keys with their sites, by telephone?"
    if not changes.none and not _agreed(question, yes):
        raise click.exceptions.Exit(1)
    join(place, read, replace=replace)
    _say(f"Site {place.name!r} has joined consortium {read.consortium!r}. Restart its daemons to use this.")


def _show_changes(changes: Changes) -> None:
    from common.authority import authority_fingerprint
    from common.enrolment import address
    from common.identity import fingerprint

    kit = changes.kit
    if changes.replaces is not None:
        _say(f"LEAVES       consortium {changes.replaces}")
    _say(f"Consortium   {kit.consortium}")
    _say(f"Coordinator  {address(kit.host, kit.port)}" + (f", before {changes.moved}" if changes.moved else ""))
    _say(f"Authority    {authority_fingerprint(kit.ca_certificate)}")
    _say(f"Roster       {fingerprint(kit.roster.digest)}  (serial {kit.serial}, {len(kit.sites)} sites)")
    if changes.back is not None:
        _say(f"GOES BACK    from the roster with serial {changes.back}")
    for name, now in changes.added.items():
        _say(f"  added    {name:<40} {now}")
    for name, now in changes.removed.items():
        _say(f"  removed  {name:<40} {now}")
    for name, (before, now) in changes.changed.items():
        _say(f"  new key  {name:<40} {now}\n           {'before':<40} {before}")
    if changes.none:
        _say("  nothing is new to this site")


@site.command("identity")
@at_site
def site_identity(folder: Path) -> None:
    """Show this site's fingerprint, and the roster that it has pinned."""
    from client.enrolment import SitePlace, pinned_authority
    from common.authority import authority_fingerprint, term
    from common.identity import fingerprint

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
    authority = pinned_authority(place)
    click.echo(f"Authority    {authority_fingerprint(authority) if authority else 'none pinned'}")
    if authority:
        click.echo(f"             {term(authority, datetime.now(UTC))}")
    click.echo(f"Roster       {fingerprint(roster.digest)}  (serial {roster.serial})")
    for name, key in roster.sites.items():
        click.echo(f"  {name:<40} {fingerprint(key)}")
