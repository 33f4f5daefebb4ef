"""Versions: who added to the sums of a study, in which part and with what, and who had a target and added to none, each
time that it was otherwise.

Patients, and what is known of them, come and go between two sums of one study. So of those who are cut otherwise by
another study not all were in each of its sums, nor with every modality that they had once: the difference of the
other's sum and of one of these is of those who were in that one, with what they had then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from client.cut import Cut
from client.cuts_file import Use

State = str  # of a patient in a version: ABSENT, NOT, or the part, ADDS, and a bit for each modality used that adds
ADDS, NOT, ABSENT = "+", "-", ""


def keep_version(use: Use, cut: Cut) -> None:
    """Keep who adds now, as a change of the version before, unless a sum of these modalities was just so."""
    now = dict.fromkeys(cut.nowhere, NOT) | {
        patient: f"{part}{ADDS}{_bits(use.modalities, cut.shown(patient)):x}" for patient, part in cut.sides.items()
    }
    if use.patients and not use.changes:  # of before versions were kept: all who were in its sums, as in one
        use.changes.append(dict.fromkeys(use.patients, ADDS))
    if change := _change(use.changes, now):
        use.changes.append(change)


def _bits(used: Sequence[str], shown: Collection[str]) -> int:
    return sum(1 << place for place, name in enumerate(used) if name in shown)


def adds(state: State) -> bool:
    """Return whether a patient of this state added to the sums."""
    return ADDS in state


def added(use: Use, state: State) -> tuple[str, frozenset[str]] | None:
    """Return in which part, and with which modalities, a patient of this state added; None where nobody kept it."""
    part, _, bits = state.partition(ADDS)
    if not part:
        return None
    return part, frozenset(name for place, name in enumerate(use.modalities) if int(bits, 16) >> place & 1)


def _change(changes: Collection[Mapping[str, State]], now: Mapping[str, State]) -> dict[str, State]:
    """Return what leads from the last version to this one; nothing where an earlier one was the same."""
    others = {*now}
    for change in changes:
        same = {patient for patient, state in change.items() if now.get(patient, ABSENT) == state}
        others = (others | change.keys()) - same
        if not others:
            return {}
    return {patient: now.get(patient, ABSENT) for patient in sorted(others)}


def versions(use: Use, patients: Collection[str]) -> Iterator[dict[str, State]]:
    """Yield the states of these patients in each version of the sums, equal ones once. Where none was kept, of all sums
    as if they were one.
    """
    states = dict.fromkeys(patients, ABSENT)
    seen = set[tuple[State, ...]]()
    as_one = dict.fromkeys(use.added, ADDS) | dict.fromkeys({*use.nowhere} - {*use.came}, NOT)
    for change in use.changes or [as_one]:
        states |= {patient: state for patient, state in change.items() if patient in states}
        if (version := tuple(states.values())) not in seen:
            seen.add(version)
            yield states.copy()
