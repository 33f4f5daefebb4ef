"""Moves: who is in another part of one study than of another, or in a part of one and in none of the other.

In no part is who has a target, and no word in a study's split column, or none of the modalities that a run uses. That
may be the study's doing (it splits by a column, it names other modalities, or fewer columns or slices of one), and then
two sums of two studies differ by that patient as by one who moved. Or the data have changed between: a gap was filled,
an image came. That is asked: would the other study have taken this patient with what the patient was taken with? So who
came or went with the data is not counted, as a new patient is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from client.cut import Cut
from client.cuts_file import Kept, Use
from client.data.recipe import Rules

NOWHERE = ""
_PERHAPS_ONE = 1  # a patient of whom it was not kept which modalities were summed: perhaps nobody else has one of them


@dataclass(frozen=True)
class Move:
    """A patient who was in one part of the sums before, and is in another now; NOWHERE: in none.

    before, shown: the modalities with which the patient added to the sums, then and now; None: nobody kept them
    """

    patient: str
    was: str
    now: str
    before: frozenset[str] | None
    shown: frozenset[str]


def moves(before: Kept, cut: Cut) -> list[Move]:
    """Return the patients who add to the sums both times, in another part."""
    return [
        Move(patient, before.sides[patient], now, before.known(patient), cut.shown(patient))
        for patient, now in cut.sides.items()
        if before.sides.get(patient, now) != now
    ]


def taken_or_left(use: Use, kept: Collection[Kept], cut: Cut) -> list[Move]:
    """Return the patients who add to the sums of one study, and to none of the other by what the studies say.

    use, kept: the other study's, which was opened. Nobody, where it was not kept by what it took its patients
    """
    if use.by_column is None:
        return []
    return [*_taken(use, cut), *_left(use, kept, cut)]


def _taken(use: Use, cut: Cut) -> Iterator[Move]:
    """Those who add now, and did not then. Not who is in the same part, to which this site added nothing then."""
    then, came = _rules(use), {*use.came}
    lacking = {patient: part for patient, part in use.nowhere.items() if patient not in came}
    for patient, part in cut.sides.items():
        if lacking.get(patient, part) != part and not then.would_take(use.modalities, cut.rules, cut.having[patient]):
            yield Move(patient, NOWHERE, part, frozenset(), cut.shown(patient))


def _left(use: Use, kept: Collection[Kept], cut: Cut) -> Iterator[Move]:
    """Those who added then, and do not now. Not who is in the same part, to which this site adds nothing now."""
    then = _rules(use)
    for patient in cut.nowhere & use.added:
        before = next((one for one in kept if patient in one.sides), None)
        part = cut.parts.get(patient)
        if before is None or (part == before.sides[patient] and part not in cut.signed):
            continue
        names = before.known(patient)
        added = None if names is None else names & {*use.modalities}
        if not cut.rules.would_take(cut.used, then, added or ()):
            yield Move(patient, before.sides[patient], NOWHERE, added, frozenset())


def _rules(use: Use) -> Rules:
    return Rules(bool(use.by_column), use.recipes)


def differing(moved: Collection[Move], both: Collection[str]) -> list[int]:
    """Return the sizes of all sides by which a part differs, and of each modality in a side.

    both: the modalities used by both cuts. Of one that a single cut used there are no two sums
    """
    sides = Counter[tuple[str, ...]]()
    for one in moved:
        for side, names in ((("from", one.was), one.before), (("to", one.now), one.shown)):
            if side[1] != NOWHERE:
                sides[side] += 1
                sides.update((*side, name) for name in names or () if name in both)
    return [*sides.values(), *(_PERHAPS_ONE for one in moved if one.before is None)]


def coming_or_going(use: Use, cut: Cut) -> list[int]:
    """Return, by part, how many patients come into the sums, or leave them, by the modalities used alone. Of those who
    are in the cohort both times, in a part that the site signed for; with the modalities that they have now.
    """
    then, sides = frozenset(use.modalities), Counter[tuple[str, bool]]()
    for patient in use.patients:
        part = cut.parts.get(patient)
        if part in cut.signed and bool(cut.having[patient] & then) != bool(cut.shown(patient)):
            sides[part, bool(cut.shown(patient))] += 1
    return list(sides.values())
