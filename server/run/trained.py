"""Which modalities a run trained and scored, in which rounds, and which parts of the cohort it counted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.study import Study
from server.run.checkpoint import RunState

USED = "modalities"  # the array of a run's state that says which of the study's are used
COUNTED = "parts"  # and the parts of the cohort that were counted in round 0
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Scored:
    """Of the modalities of a run, those that are in one of its model and of a score, and not in the other.

    without: modality -> the rounds whose model has a validation score that was taken without it. test_without: those
    that the test score was taken without. at_start: those that the model is without, and that a score was taken with
    """

    without: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    test_without: tuple[str, ...] = ()
    at_start: tuple[str, ...] = ()


def without_in(study: Study, state: RunState, groups: Collection[str]) -> tuple[str, ...]:
    """Return the modalities of the run that are in no sum of this round, whose groups these are."""
    return tuple(name for name in used_in(study, state) if name not in groups)


def changed_in(state: RunState, without: Collection[str]) -> tuple[list[str], list[str]]:
    """Return which modalities this round's sum is without, as the one before was not, and which are in it again."""
    before = _without(state.history[-1]) if state.history else ()
    return [name for name in without if name not in before], [name for name in before if name not in without]


def untrained_in(study: Study, state: RunState, selected: int) -> tuple[str, ...]:
    """The modalities that the run does not use, or that were in no sum up to the round of its model."""
    used, rounds = used_in(study, state), _trained_in(study, state, selected)
    return tuple(name for name in study.names if name not in used or rounds.get(name) == 0)


def partly_in(study: Study, state: RunState, selected: int) -> dict[str, tuple[int, int]]:
    """The modalities that some of these rounds trained and others did not: in how many, and of how many."""
    found = {name: (number, selected) for name, number in _trained_in(study, state, selected).items()}
    return {name: counts for name, counts in found.items() if 0 < counts[0] < selected}


def scored_in(study: Study, state: RunState, selected: int) -> Scored:
    """Which of the run's modalities its scores were taken without, and which with an encoder that was never trained."""
    used, untrained = used_in(study, state), untrained_in(study, state, selected)
    scores = {number: _without(entry) for number, entry in enumerate(state.history) if entry["metrics"] is not None}
    tested = scores.pop(study.rounds + 2, None)
    rounds = {name: tuple(at - 1 for at, gone in scores.items() if name in gone) for name in used}
    of_the_model = [gone for gone in (scores.get(selected + 1), tested) if gone is not None]
    return Scored(
        {name: found for name, found in rounds.items() if found and name not in untrained},
        tuple(name for name in tested or () if name not in untrained),
        tuple(name for name in used if name in untrained and any(name not in gone for gone in of_the_model)),
    )


def _trained_in(study: Study, state: RunState, selected: int) -> dict[str, int]:
    if selected < 1:
        return {}
    rounds = [_without(entry) for entry in state.history[1 : selected + 1]]
    return {name: sum(name not in gone for gone in rounds) for name in used_in(study, state)}


def _without(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(entry.get("without", ()))  # a history of release 0.1 does not say: none of them


def used_in(study: Study, state: RunState) -> tuple[str, ...]:
    """The modalities that the run of this state uses."""
    chosen = state.arrays.get(USED)
    return study.names if chosen is None else tuple(np.array(study.names)[chosen].tolist())


def uncounted_in(study: Study, state: RunState) -> tuple[str, ...]:
    """The parts of the study's cohort that too few sites could fill when this run counted them."""
    counted = state.arrays.get(COUNTED)
    found = () if counted is None else np.array(PARTS)[~counted].tolist()
    return tuple(part for part in found if part in study.split.parts)
