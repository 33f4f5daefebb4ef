"""Who watches a run: told what it does, what a person should know, and each round that is done."""

from __future__ import annotations

from typing import Protocol

from server.report.evidence import RoundEvidence


class Observer(Protocol):
    """Who watches a run."""

    def doing(self, what: str) -> None:
        """The run has begun to do something that takes time."""

    def told(self, sentence: str) -> None:
        """The run has found something that a person should know before it goes on."""

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None:
        """A round is complete and saved."""


class Unwatched:
    """An observer that looks away."""

    def doing(self, what: str) -> None: ...

    def told(self, sentence: str) -> None: ...

    def round_done(self, evidence: RoundEvidence, rounds: int) -> None: ...
