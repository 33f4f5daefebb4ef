"""Versions: who added to the sums of a study, in which part and with what, and who had a target and added to none, each
time that it was otherwise.

Patients, and what is known of them, come and go between two sums of one study. So of those who are cut otherwise by
another study not all were in each of its sums, nor with every modality that they had once: the difference of the
other's sum and of one of these is of those who were in that one, with what they had then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from client.exact_sums.cut import Cut
from client.exact_sums.cuts_file import Use

# Of a patient in a version: ABSENT, NOT, or the part, then ADDS, or UNSIGNED where the site did not sign for the part
# and added nothing in it, and a bit for each modality used that the patient has.
State = str
ADDS, UNSIGNED, NOT, ABSENT = "+", "~", "-", ""


def keep_version(use: Use, cut: Cut, order: int) -> None:
    """Keep who adds now, as a change of the version before, unless a sum of these modalities was just so.

    order: of the last sum of any study; this one is the next, unless it is that one again
    """
    now = dict.fromkeys(cut.nowhere, NOT) | {
        patient: f"{part}{ADDS if part in cut.signed else UNSIGNED}{_bits(use.modalities, cut.shown(patient)):x}"
        for patient, part in cut.sides.items()
    }
    if use.patients and not use.changes:  # of before versions were kept: all who were in its sums, as in one
        use.changes.append(dict.fromkeys(use.patients, ADDS))
    place, change = _change(use.changes, now)
    if change:
        use.changes.append(change)
    use.last += [0] * (len(use.changes) - len(use.last))  # 0: of before the order was kept
    if use.changes and (not order or use.last[place] != order):
        use.last[place] = order + 1


def _bits(used: Sequence[str], shown: Collection[str]) -> int:
    return sum(1 << place for place, name in enumerate(used) if name in shown)


def adds(state: State) -> bool:
    """Return whether a patient of this state added to the sums, or would have in a part that the site signs for."""
    return ADDS in state or UNSIGNED in state


def is_signed(state: State) -> bool:
    """Return whether the site signed for the part of a patient of this state, who had a modality used."""
    return ADDS in state


def part_of(state: State) -> str:
    """Return the part of a patient of this state; "" where the patient was in none, or nobody kept it."""
    return state.partition(ADDS if is_signed(state) else UNSIGNED)[0] if adds(state) else ""


def added(use: Use, state: State) -> tuple[str, frozenset[str]] | None:
    """Return in which part, and with which modalities, a patient of this state added; None where nobody kept it."""
    if not (part := part_of(state)):
        return None
    bits = int(state[len(part) + 1 :], 16)
    return part, frozenset(name for place, name in enumerate(use.modalities) if bits >> place & 1)


def _change(changes: Collection[Mapping[str, State]], now: Mapping[str, State]) -> tuple[int, dict[str, State]]:
    """Return the place of this version, and what leads to it from the last one; nothing where an earlier one was so."""
    others = {*now}
    for place, change in enumerate(changes):
        same = {patient for patient, state in change.items() if now.get(patient, ABSENT) == state}
        others = (others | change.keys()) - same
        if not others:
            return place, {}
    return len(changes), {patient: now.get(patient, ABSENT) for patient in sorted(others)}


def versions(use: Use, patients: Collection[str]) -> Iterator[tuple[dict[str, State], int]]:
    """Yield the states of these patients in each version of the sums, equal ones once, and the order of the last sum of
    it. Where none was kept, of all sums as if they were one.
    """
    states = dict.fromkeys(patients, ABSENT)
    last = dict[tuple[State, ...], int]()
    as_one = dict.fromkeys(use.added, ADDS) | dict.fromkeys({*use.nowhere} - {*use.came}, NOT)
    for place, change in enumerate(use.changes or [as_one]):
        states |= {patient: state for patient, state in change.items() if patient in states}
        version = tuple(states.values())
        last[version] = max(last.get(version, 0), *use.last[place : place + 1], 0)
    for version, order in last.items():
        yield dict(zip(states, version, strict=True)), order


def last_with(use: Use, each: Iterable[tuple[Mapping[str, State], int]]) -> dict[str, frozenset[str]]:
    """Return with which modalities each patient added in the last of these versions in which that was kept."""
    found = dict[str, frozenset[str]]()
    for states, _ in sorted(each, key=lambda one: one[1]):
        found |= {patient: had[1] for patient, state in states.items() if (had := added(use, state))}
    return found


def last_in_state(each: Iterable[tuple[Mapping[str, State], int]], *, added: bool) -> dict[str, int]:
    """Return the order of the last sum, of these versions, in which each patient added; or had a target and did not."""
    found = dict[str, int]()
    for states, order in each:
        for patient, state in states.items():
            if adds(state) if added else state == NOT:
                found[patient] = max(order, found.get(patient, 0))
    return found
