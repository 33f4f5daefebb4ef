"""Which modalities a run trained, in which rounds, and which parts of the cohort it counted: kept in its state."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from common.study import Study
from server.checkpoint import RunState

USED = "modalities"  # the array of a run's state that says which of the study's are used
TRAINED = "trained"  # (rounds + 1, modalities): whether the modality was in the sum of that training round
COUNTED = "parts"  # and the parts of the cohort that were counted in round 0
PARTS = ("train", "validation", "test")


def keep_trained(study: Study, state: RunState, number: int, groups: Collection[str]) -> tuple[list[str], list[str]]:
    """Keep which modalities this training round has in its sum (`groups`). Return which are in it no more, as they were
    in the round before, and which are again.
    """
    names = np.array(study.names)
    rows = state.arrays.get(TRAINED)
    if rows is None:  # of before it was kept: all that the run uses
        rows = np.zeros((study.rounds + 1, len(names)), dtype=bool)
        rows[:number] = np.isin(names, used_in(study, state))
    rows, now = rows.copy(), np.isin(names, list(groups))
    before, rows[number] = rows[number - 1], now
    state.arrays[TRAINED] = rows
    return names[before & ~now].tolist(), names[now & ~before].tolist()


def untrained_in(study: Study, state: RunState, selected: int) -> tuple[str, ...]:
    """The modalities that the run does not use, or that were in no sum up to the round of its model."""
    used, rounds = used_in(study, state), _trained_in(study, state, selected)
    return tuple(name for name in study.names if name not in used or rounds.get(name) == 0)


def partly_in(study: Study, state: RunState, selected: int) -> dict[str, tuple[int, int]]:
    """The modalities that some of these rounds trained and others did not: in how many, and of how many."""
    found = {name: (number, selected) for name, number in _trained_in(study, state, selected).items()}
    return {name: counts for name, counts in found.items() if 0 < counts[0] < selected}


def _trained_in(study: Study, state: RunState, selected: int) -> dict[str, int]:
    rows = state.arrays.get(TRAINED)
    if rows is None or selected < 1:
        return {}
    return dict(zip(study.names, rows[1 : selected + 1].sum(axis=0).tolist(), strict=True))


def used_in(study: Study, state: RunState) -> tuple[str, ...]:
    """The modalities that the run of this state uses."""
    chosen = state.arrays.get(USED)
    return study.names if chosen is None else tuple(np.array(study.names)[chosen].tolist())


def uncounted_in(state: RunState) -> tuple[str, ...]:
    """The parts of the cohort that too few sites could fill when this run counted them."""
    counted = state.arrays.get(COUNTED)
    return () if counted is None else tuple(np.array(PARTS)[~counted].tolist())
