"""What a person sees while a simulation runs: a live line on a terminal, a line a round elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from common.study import Study
from deploy.research.simulation.hospitals import Looked
from deploy.research.simulation.worker import Watched
from server.report.evidence import Evidence, RoundEvidence
from server.report.verdict import verdict
from server.run.round_line import line


class Display:
    """An observer of the run and of its sites; use as a context manager."""

    def __init__(self, study: Study, sites: int, console: Console | None = None) -> None:
        self._study, self._sites = study, sites
        self._console = console or Console(highlight=False)
        self._began = time.monotonic()
        self._now = "starting"
        self._site: dict[str, str] = {}
        self._live = Live(self, console=self._console, refresh_per_second=4, transient=True)
        private = f"epsilon {study.privacy.epsilon:g}" if study.private else "NO differential privacy"
        secure = "secure sum" if study.secure_sum.enabled else "NO secure sum"
        self._console.print(
            f"[bold]{study.study}[/bold]: {sites} sites, {study.rounds} rounds, {len(study.names)} modalities, "
            f"{private}, {secure}"
        )

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def __rich__(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for site, what in sorted(self._site.items()):
            table.add_row(Text(site, style="cyan"), what)
        return Group(Text(f"{self._elapsed()}  {self._now} …", style="bold"), table)

    def doing(self, what: str) -> None:
        said, self._now = self._now == what, what  # a run says it before and after sites joined
        self._site.clear()
        if said:
            return
        if not self._console.is_terminal and not what.startswith("round"):
            self._console.print(f"{self._elapsed()}  {what}", soft_wrap=True)

    def told(self, sentence: str) -> None:
        self._console.print(f"{self._elapsed()}  [yellow]{escape(sentence)}[/yellow]", soft_wrap=True)

    def watch(self, site: str, event: Watched) -> None:
        """A site's own word on what it does; counts only."""
        self._site[site] = f"{event.what} {event.done}/{event.total}"

    def found(self, site: Looked) -> None:
        """What of a site's data is lost above the bound, and what a person should think about. All the counts are in
        the run's folder.
        """
        for sentence in site.loud:
            self._console.print(f"[bold red]{escape(site.site)}[/bold red]: {escape(sentence)}", soft_wrap=True)

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        self._console.print(f"{self._elapsed()}  {line(evidence, rounds)}", soft_wrap=True)

    def verdict(self, evidence: Evidence, page: Path) -> None:
        """The last word: was it worth it, and where is the report."""
        found = verdict(evidence)
        self._console.print(f"\n[bold]{found.word}[/bold] {found.sentence}")
        self._console.print(f"{self._elapsed()}  report: {page}", soft_wrap=True)

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60:02d}:{seconds % 60:02d}"
