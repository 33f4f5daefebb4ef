"""Schedule: which sums a study asks for, one after another, and what each of them asks.

The number of a stage is the round of its plan: 0 statistics, 1..N training, N+1 the last score, N+2 the test. Neither
side encodes that: a site compares a plan with its stage, and the coordinator plays one stage after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from common.plan import STATISTICS, UPDATE
from common.study import Study


@dataclass(frozen=True)
class Stage:
    """One sum of a run.

    asks: the names of the questions that a plan may ask in it, and of no others
    judges: whether the run chooses in it between the model that it starts from and the best one before
    """

    number: int
    asks: tuple[str, ...] = ()
    judges: bool = False


@dataclass(frozen=True)
class Schedule:
    """The stages of a study, from 0 to `last`."""

    study: Study

    @property
    def last(self) -> int:
        """The number of the last stage: after it a run is over."""
        return self.study.rounds + 2

    def stage(self, number: int) -> Stage:
        """Return the stage of this number; one that asks for nothing where the study has no such stage.

        Validation patients score, in a round, the model that it starts from. Test patients score once, at the end.
        """
        study = self.study
        if not 1 <= number <= study.rounds + 1:
            asks = {0: (STATISTICS,), study.rounds + 2: ("test",)}
            return Stage(number, asks.get(number, ()))
        due = (number - 1) % study.evaluation.every == 0 or number == study.rounds + 1
        trains = (UPDATE,) if number <= study.rounds else ()
        return Stage(number, (*trains, "validation") if due and study.split.validates else trains, judges=True)

    def stages(self, first: int = 0, last: int | None = None) -> Iterator[Stage]:
        """Return the stages from this number to that one, both included; to the end where none is given."""
        yield from map(self.stage, range(first, (self.last if last is None else last) + 1))


def title(number: int, rounds: int) -> str:
    """A round as a person calls it."""
    if number < 1:
        return "statistics" if number == 0 else "before the first round"
    if number <= rounds:
        return f"round {number} of {rounds}"
    return "last score" if number == rounds + 1 else "test"
