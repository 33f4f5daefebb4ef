"""The groups of `wardround …`. Modules beside this one hang their commands into them; `deploy/cli.py` imports all."""

from __future__ import annotations

import click


@click.group()
def site() -> None:
    """At a hospital: enrol, approve studies, run the daemons, see what left."""


@click.group()
def consortium() -> None:
    """At the coordinator: who belongs to the consortium."""


@click.group()
def coordinator() -> None:
    """At the coordinator: the server that sites connect to."""
