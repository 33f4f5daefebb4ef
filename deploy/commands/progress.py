"""A line now and then on standard error, while cases are prepared: reading ten thousand images takes minutes."""

from __future__ import annotations

import time

import click

EVERY_SECONDS = 5.0


class ProgressLines:
    """Called with what is done, how much of it, and of how much; `head` begins each line. The first line comes late:
    of what is done at once nothing is said.
    """

    def __init__(self, head: str) -> None:
        self._head, self._said = head, time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        if time.monotonic() - self._said >= EVERY_SECONDS:
            self._said = time.monotonic()
            click.echo(f"  {self._head}: {what}, {done:,} of {total:,}", err=True)
