"""How many of a run's sites are in a sum, in words: a score, a count and the page's head are each of one sum."""

from __future__ import annotations

from collections.abc import Iterable

from server.report.evidence import Comparison, Evidence, RoundEvidence


def run_sites(rounds: Iterable[RoundEvidence], least: int = 0) -> int:
    """Return how many sites a run has, in its sums or not; of a report of 0.1 the most that were in one of them."""
    return max((max(entry.sites, entry.run_sites or 0) for entry in rounds), default=least)


def of_all(sites: int | None, of: int) -> str:
    """Return whom a sum is over: "all sites", or how many of how many. None is all of them."""
    return "all sites" if sites is None or sites >= of else f"{sites} of the {of} sites"


def tested_over(evidence: Evidence, entries: Iterable[Comparison]) -> str:
    """Return on whose test patients these models were measured: on those of the fewest sites of any of them."""
    unsaid = None if evidence.simulated else evidence.sites  # in a report of 0.1
    known = [entry.sites or unsaid for entry in entries]
    return of_all(
        min((sites for sites in known if sites is not None), default=None), run_sites(evidence.rounds, evidence.sites)
    )


def counted_over(evidence: Evidence) -> tuple[int | None, str]:
    """Return over how many sites the cases were counted, in round 0, and in words; None where that is not known."""
    counted = next((entry.sites for entry in evidence.rounds if entry.round == 0), None)
    return counted, of_all(counted, run_sites(evidence.rounds, evidence.sites))


def head(evidence: Evidence) -> str:
    """Return how many sites the last sum has, for the head of the page."""
    of = run_sites(evidence.rounds, evidence.sites)
    return f"{of} sites" if evidence.sites >= of else f"{evidence.sites} of {of} sites in its last sum"
