"""A run's sums, one after another, and the rows that a report shows of them: one for each round, nothing left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from server.report.evidence import RoundEvidence
from server.run.checkpoint import RunState


def history_in(state: RunState) -> list[RoundEvidence]:
    """Return what this state keeps of each sum, in their order: round 0 first."""
    return [RoundEvidence(**entry | {"without": tuple(entry.get("without", ()))}) for entry in state.history]


def most(values: Iterable[float | None]) -> float | None:
    """Return the largest that is known; None where none is."""
    return max((value for value in values if value is not None), default=None)


def by_round(history: Sequence[RoundEvidence], rounds: int) -> tuple[RoundEvidence, ...]:
    """Return rounds 0..N, each with the score of the model that it made. A run scores a model in the round after; the
    last model's score and the test are in the row of round N, with whom they lost.
    """
    risen = _risen(history)
    shown = [replace(entry, metrics=after.metrics) for entry, after in pairwise(risen[: rounds + 2])]
    if len(risen) <= rounds + 1:  # the last round's model was scored by nobody
        shown.append(replace(risen[-1], metrics=None))
    shown[-1] = _with(shown[-1], risen[rounds + 1 :])
    return tuple(shown)


def _risen(history: Sequence[RoundEvidence]) -> list[RoundEvidence]:
    """Who has spent most may be in no sum from some round on, and has spent it nevertheless."""
    return [
        replace(
            entry,
            epsilon=most(before.epsilon for before in history[: place + 1]),
            held_out_epsilon=most(before.held_out_epsilon for before in history[: place + 1]),
        )
        for place, entry in enumerate(history)
    ]


def _with(last: RoundEvidence, tail: Sequence[RoundEvidence]) -> RoundEvidence:
    """The last round's row with the sums after it: the fewest sites and threshold, and the total of what adds up."""
    sums, reasons = (last, *tail), Counter[str]()
    for entry in sums:
        reasons.update(entry.drop_reasons)
    return replace(
        last,
        sites=min(entry.sites for entry in sums),
        dropped=sum(entry.dropped for entry in sums),
        drop_reasons={reason: reasons[reason] for reason in sorted(reasons)},
        seconds=sum(entry.seconds for entry in sums),
        bytes_up=sum(entry.bytes_up for entry in sums),
        bytes_down=sum(entry.bytes_down for entry in sums),
        steps=sum(entry.steps for entry in sums),
        epsilon=sums[-1].epsilon,
        held_out_epsilon=sums[-1].held_out_epsilon,
        threshold=min((entry.threshold for entry in sums if entry.threshold is not None), default=None),
        without=tuple(dict.fromkeys(name for entry in sums for name in entry.without)),
    )
