"""The groups of `wardround …`. Modules beside this one hang their commands into them; `deploy/cli.py` imports all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any

import click

at_site = click.option(
    "--at", "folder", type=click.Path(path_type=Path, exists=True), default=Path(), metavar="SITE_FOLDER",
    help="The folder with site.yaml; this one if not given.",
)  # fmt: skip


def run_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A run's name is its folder's, and of no folder elsewhere."""
    if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise click.BadParameter("a run's name is of letters, digits, '.', '_' and '-', the first a letter or digit.")
    return value


def log_head(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """A mistyped head is no broken log."""
    if value is not None and not re.fullmatch(r"[0-9a-f]{64}", value):
        raise click.BadParameter("a head has 64 digits, of 0-9 and a-f, as `audit` printed it.")
    return value


INTERRUPTED = 130


class Stopped(click.ClickException):
    """Somebody stopped it; `message` says what that leaves, and how to go on."""

    exit_code = INTERRUPTED

    def show(self, file: IO[Any] | None = None) -> None:
        click.secho(f"wardround: stopped. {self.message}".rstrip(), fg="yellow", err=True)


class Command(click.Command):
    """Says where a folder belongs that was given as a word of its own."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            takes_folder = any("--at" in param.opts for param in self.params)
            hint = f" A folder is given with --at: `--at {rest[0]}`." if takes_folder else ""
            ctx.fail(f"{rest[0]!r} is more than this command takes.{hint}")
        return rest


class Group(click.Group):
    command_class = Command


@click.group(cls=Group)
def site() -> None:
    """At a hospital: enrol, approve studies, run the daemons, see what left."""


@click.group(cls=Group)
def consortium() -> None:
    """At the coordinator: who belongs to the consortium."""


@click.group(cls=Group)
def coordinator() -> None:
    """At the coordinator: the server that sites connect to."""
