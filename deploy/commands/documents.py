"""Documents that coordinator and hospitals hand each other, and what both are shown and asked about them.

Requests and kits go to a file or to standard output; all that is said to people goes to standard error, so that
`wardround site enrol > request.yaml` is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from common.identity.enrolment import Request

PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
yes_option = click.option("--yes", is_flag=True, help="Do not ask; the fingerprints have been compared.")


def say(text: str) -> None:
    """To the person, not into the document."""
    click.echo(text, err=True)


def hand_out(text: str, out: Path | None) -> None:
    """A document of public things, to a file or to standard output."""
    from common.disk.atomic_file import PUBLIC, write_whole

    if out is None:
        click.echo(text, nl=False)
        return
    write_whole(out, text.encode(), PUBLIC)
    say(f"Wrote {out}.")


def require_yes(question: str, yes: bool) -> None:
    """Go on after a yes; end the command after anything else."""
    if yes or click.confirm(question, err=True):
        return
    say("Nothing was changed.")
    raise click.exceptions.Exit(1)


def show_request(asked: Request) -> None:
    """What the two at the telephone compare: the same lines on both sides."""
    from common.identity.roster import fingerprint

    say(f"Site         {asked.site}")
    if asked.previous is not None:
        say(f"Key before   {fingerprint(asked.previous)}")
    say(f"Signing key  {fingerprint(asked.public)}  (signs all of the request: compare this one)")
    say(f"Node key     {fingerprint(asked.node_key.encode())}")


def roster_lines(sites: Mapping[str, bytes]) -> list[str]:
    """Each site and its key's fingerprint, in lines that fit a narrow screen wherever the names allow it."""
    from common.identity.roster import fingerprint

    width = max(map(len, sites), default=0)
    return [f"  {name:<{width}}  {fingerprint(key)}" for name, key in sites.items()]


def authority_lines(pem: str) -> str:
    """The authority's fingerprint, and until when it is valid."""
    from common.identity.authority import authority_fingerprint, term

    return f"Authority    {authority_fingerprint(pem)}\n             {term(pem, datetime.now(UTC))}"
