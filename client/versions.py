"""Versions: who added to the sums of a study, and who had a target and added to none, each time that it was otherwise.

Patients come and leave between two sums of one study. So of those who are cut otherwise by another study not all were
in each of its sums: the difference of the other's sum and of one of these is of those who were in that one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from client.cut import Cut
from client.cuts_file import Use
from client.moves import NOWHERE, Move

_ADDS, _NOT, _ABSENT = "+", "-", ""


def keep_version(use: Use, cut: Cut) -> None:
    """Keep who adds now, as a change of the version before, unless a sum of these modalities was just so."""
    now = dict.fromkeys(cut.nowhere, _NOT) | dict.fromkeys(cut.sides, _ADDS)
    if use.patients and not use.changes:  # of before versions were kept: all who were in its sums, as in one
        use.changes.append(dict.fromkeys(use.patients, _ADDS))
    if change := _change(use.changes, now):
        use.changes.append(change)


def _change(changes: Collection[Mapping[str, str]], now: Mapping[str, str]) -> dict[str, str]:
    """Return what leads from the last version to this one; nothing where an earlier one was the same."""
    others = {*now}
    for change in changes:
        same = {patient for patient, state in change.items() if now.get(patient, _ABSENT) == state}
        others = (others | change.keys()) - same
        if not others:
            return {}
    return {patient: now.get(patient, _ABSENT) for patient in sorted(others)}


def in_each(use: Use, moved: Collection[Move]) -> Iterator[list[Move]]:
    """Yield those of these moves that are between one version and now: for each version, equal ones once. All of them
    where no version was kept.
    """
    states = dict.fromkeys((move.patient for move in moved), _ABSENT)
    seen = set[tuple[str, ...]]()
    for change in use.changes:
        states |= {patient: state for patient, state in change.items() if patient in states}
        if (version := tuple(states.values())) not in seen:
            seen.add(version)
            yield [move for move in moved if states[move.patient] == (_NOT if move.was == NOWHERE else _ADDS)]
    if not use.changes:
        yield [*moved]
