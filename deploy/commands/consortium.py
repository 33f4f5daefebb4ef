"""`wardround consortium …`: who belongs to the consortium, at the coordinator."""

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
from deploy.commands.groups import consortium

if TYPE_CHECKING:
    from server.consortium.consortium import Consortium

_at = click.option("--at", type=PATH, default=Path("consortium"), show_default=True, help="The consortium's folder.")
_kit_out = click.option("--out", type=PATH, default=None, help="File for the kit; else it is printed.")


@consortium.command("new")
@click.argument("name")
@click.option("--host", required=True, metavar="DNS-OR-IP", help="Where sites reach the coordinator.")
@click.option("--also", multiple=True, metavar="NAME", help="Another name or address of it; repeatable.")
@click.option("--port", type=click.IntRange(1, 65535), default=9443, show_default=True)
@_at
def consortium_new(name: str, host: str, also: tuple[str, ...], port: int, at: Path) -> None:
    """Make a consortium: its certificate authority, its server's certificate, and a roster without sites."""
    from server.consortium.consortium import Consortium

    made = Consortium.new(at, name, host, also=also, port=port)
    say(f"Made consortium {made.name!r} in {at}. Sites will call {made.address}.")
    say(f"Authority  {made.fingerprint}  (sites compare this when they join)")
    say(f"Keep {at}/ca/ca.key secret, and a copy of {at} in a safe place.")
    say("Next: each hospital runs `wardround site enrol`, and you `wardround consortium admit REQUEST`.")


@consortium.command("admit")
@click.argument("request", type=FILE)
@_at
@_kit_out
@yes_option
def consortium_admit(request: Path, at: Path, out: Path | None, yes: bool) -> None:
    """Admit the site of REQUEST, or its new key, and hand out its kit."""
    from common.identity.enrolment import Request
    from server.consortium.consortium import Consortium

    now, asked = Consortium.read(at), Request.read(request)
    now.require_new(asked)
    show_request(asked)
    require_yes(f"Did site {asked.site!r} read the same to you, by telephone?", yes)
    then = now.admit(asked)
    hand_out(then.kit(asked.site).to_text(), out)
    say(f"Site {asked.site!r} is a member, of {len(then.roster.sites)}. Send it its kit.")
    if len(then.roster.sites) > 1 and then.roster.digest != now.roster.digest:
        say("The other sites need the new roster too: `wardround consortium kits --out FOLDER`, one file each.")


@consortium.command("kit")
@click.argument("name", metavar="SITE")
@_at
@_kit_out
def consortium_kit(name: str, at: Path, out: Path | None) -> None:
    """Hand out the kit of SITE again, with the roster as it is now."""
    from server.consortium.consortium import Consortium

    hand_out(Consortium.read(at).kit(name).to_text(), out)


@consortium.command("kits")
@click.option("--out", type=PATH, required=True, help="Folder to write SITE.yaml files into.")
@_at
def consortium_kits(out: Path, at: Path) -> None:
    """Write the kits of all sites, after one came or went."""
    from server.consortium.consortium import Consortium

    written = Consortium.read(at).write_kits(out)
    say(f"Wrote {len(written)} kits to {out}. Send each site its own; it runs `wardround site join KIT`.")
    if others := sorted(path.name for path in set(out.glob("*.yaml")) - set(written)):
        say(f"Not written now, perhaps of a site that left: {', '.join(others)}. Send none of these to anyone.")


@consortium.command("remove")
@click.argument("name", metavar="SITE")
@_at
@yes_option
def consortium_remove(name: str, at: Path, yes: bool) -> None:
    """Take SITE off the roster: it can no longer connect, and no run starts with it."""
    from server.consortium.consortium import Consortium

    now = Consortium.read(at)
    now.require_site(name)
    require_yes(f"Remove site {name!r} from consortium {now.name!r}?", yes)
    then = now.remove(name)
    say(f"Site {name!r} is no member; {len(then.roster.sites)} are left. What it contributed stays in past models.")
    say("The other sites need the new roster: `wardround consortium kits --out FOLDER`.")
    say("A running coordinator takes its node key off within a second, and never lets it in again: a site that shall")
    say("return makes new keys with `wardround site enrol --new-keys`.")


@consortium.command("renew")
@_at
def consortium_renew(at: Path) -> None:
    """Make the server's certificate new, for the names in consortium.yaml; sites notice nothing."""
    from server.consortium.consortium import Consortium

    then = Consortium.read(at).renew()
    say(f"Made {then.server_certificate} new, until {_until(then)}. Start the coordinator again to use it.")


@consortium.command("show")
@_at
def consortium_show(at: Path) -> None:
    """Show the consortium, its sites and their fingerprints."""
    from common.identity.roster import fingerprint
    from server.consortium.consortium import Consortium

    now = Consortium.read(at)
    click.echo(f"Consortium   {now.name}")
    click.echo(f"Coordinator  {now.address}, certificate until {_until(now)}")
    click.echo(authority_lines(now.ca_certificate.decode()))
    click.echo(f"Roster       {fingerprint(now.roster.digest)}  (serial {now.roster.serial})")
    click.echo(f"Sites        {len(now.roster.sites)}")
    for line in roster_lines(now.roster.sites):
        click.echo(line)


def _until(now: Consortium) -> str:
    from server.consortium.certificates import not_after

    return f"{not_after(now.server_certificate.read_bytes()):%Y-%m-%d}"
