"""Schedule: which sums a study asks for, one after another, and what each of them asks.

The number of a stage is the round of its plan: 0 statistics, 1..N training, N+1 the last score, N+2 the test, and then
the sums of the study's inquiries, one inquiry after another. Neither side encodes that: a site compares a plan with its
stage, and the coordinator plays one stage after another.
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
        return self.tests + sum(inquiry.sums for inquiry in self.study.inquiries.values())

    @property
    def tests(self) -> int:
        """The number of the stage that scores test patients: after it the model is what it is."""
        return self.study.rounds + 2

    def stage(self, number: int) -> Stage:
        """Return the stage of this number; one that asks for nothing where the study has no such stage.

        Validation patients score, in a round, the model that it starts from. Test patients score once, at the end.
        """
        study = self.study
        if not 1 <= number <= study.rounds + 1:
            asks = {0: (STATISTICS,), self.tests: ("test",)}
            inquired = tuple(self.inquiry_name(name) for name, _ in self._inquired(number))
            return Stage(number, asks.get(number, inquired))
        due = (number - 1) % study.evaluation.every == 0 or number == study.rounds + 1
        trains = (UPDATE,) if number <= study.rounds else ()
        return Stage(number, (*trains, "validation") if due and study.split.validates else trains, judges=True)

    @staticmethod
    def inquiry_name(called: str) -> str:
        """Return how a plan names the question of the inquiry that a study calls this."""
        return f"inquiry/{called}"

    def place_of(self, called: str, number: int) -> int:
        """Return which of the sums of this inquiry a stage is, from 1; 0 where it is none of them."""
        return next((place for name, place in self._inquired(number) if name == called), 0)

    def _inquired(self, number: int) -> Iterator[tuple[str, int]]:
        """The inquiry whose sum this stage is, if it is one, and which of its sums."""
        place = number - self.tests
        for name, inquiry in self.study.inquiries.items():
            if 1 <= place <= inquiry.sums:
                yield name, place
            place -= inquiry.sums

    def title(self, number: int) -> str:
        """A stage as a person calls it."""
        found = (f"{name}, sum {place} of {self.study.inquiries[name].sums}" for name, place in self._inquired(number))
        return next(found, "") or title(number, self.study.rounds)

    def stages(self, first: int = 0, last: int | None = None) -> Iterator[Stage]:
        """Return the stages from this number to that one, both included; to the end where none is given."""
        yield from map(self.stage, range(first, (self.last if last is None else last) + 1))


def title(number: int, rounds: int) -> str:
    """A round as a person calls it who knows no more of the study."""
    if number < 1:
        return "statistics" if number == 0 else "before the first round"
    if number <= rounds:
        return f"round {number} of {rounds}"
    if number <= rounds + 2:
        return "last score" if number == rounds + 1 else "test"
    return f"sum {number - rounds - 2} after the test"
