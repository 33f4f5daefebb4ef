"""Moves: who is in another part of one study than of another, or in a part of one and in none of the other.

In no part is who has a target, and no word in a study's split column, or none of the modalities that a run uses. That
may be the study's doing (it splits by a column, it names other modalities, or fewer columns or slices of one), and then
two sums of two studies differ by that patient as by one who moved. Or the data have changed between: a gap was filled,
an image came. That is asked: would the other study have taken this patient with what the patient was taken with? So who
came or went with the data is not counted, as a new patient is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from client.cut import Cut
from client.cuts_file import Kept, Use
from client.data.recipe import Rules
from client.versions import NOT, State, added, adds, versions

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

    @property
    def word(self) -> str:
        """What a person lets differ: a patient in one and in none of the other, or in these two parts of either."""
        return (
            self.patient if NOWHERE in (self.was, self.now) else " ".join((self.patient, *sorted((self.was, self.now))))
        )


def moves(before: Kept, cut: Cut) -> list[Move]:
    """Return the patients who add to the sums both times, in another part."""
    return [
        Move(patient, before.sides[patient], now, before.known(patient), cut.shown(patient))
        for patient, now in cut.sides.items()
        if before.sides.get(patient, now) != now
    ]


def in_each(use: Use, kept: Collection[Kept], cut: Cut) -> Iterator[list[Move]]:
    """Yield for each version of another study's sums who is cut otherwise than now, with what each had then.

    use, kept: the other study's, which was opened
    """
    sides, nowhere = cut.sides, cut.nowhere
    moved = {move.patient for before in kept for move in moves(before, cut)}
    left = {patient for before in kept for patient in before.sides} & nowhere
    for states in versions(use, moved | {*use.nowhere} & {*sides} | left):
        then = {patient: [*_then(use, kept, patient, state)] for patient, state in states.items() if adds(state)}
        between = [
            Move(patient, was, sides[patient], before, cut.shown(patient))
            for patient, each in then.items()
            for was, before in each
            if sides.get(patient, was) != was
        ]
        yield [*between, *taken_or_left_in(states, use, kept, cut)]


def words_for(use: Use, kept: Collection[Kept], cut: Cut) -> set[str]:
    """Return the words that a person gives for a study that differs so from any version of another study's sums."""
    return {move.word for some in in_each(use, kept, cut) for move in some}


def by_other_columns(use: Use, kept: Collection[Kept], cut: Cut, goes_on: Use | None) -> list[int]:
    """Return, for each version of these sums of the same study, by other columns of the site for the target or the
    split, how many patients of a part come into the sums or leave them by the columns of now, and with each modality.

    goes_on: the sums of which this one is the next; who was in none of them, or in them, comes or leaves with the data
    """
    if use.split is None or (use.target, use.split) == (cut.rules.target, cut.rules.split):
        return []
    came, left = (goes_on.nowhere.keys(), goes_on.added) if goes_on else ((), ())
    sizes = list[int]()
    for some in in_each(use, kept, cut):
        moved = [one for one in some if NOWHERE in (one.was, one.now)]
        moved = [one for one in moved if one.patient not in (came if one.was == NOWHERE else left)]
        sizes += differing(moved, {*use.modalities} & cut.used)
    return sizes


def taken_or_left_in(states: Mapping[str, State], use: Use, kept: Collection[Kept], cut: Cut) -> list[Move]:
    """Return those of one version, in which these patients were in these states. Nobody, where it was not kept by what
    the other study took its patients.
    """
    if use.split is None:
        return []
    return [*_taken(states, use, cut), *_left(states, use, kept, cut)]


def _taken(states: Mapping[str, State], use: Use, cut: Cut) -> Iterator[Move]:
    """Those who add now, and did not then. Not who is in the same part, to which this site added nothing then."""
    then, sides = _rules(use), cut.sides
    for patient, state in states.items():
        before, part = use.nowhere.get(patient), sides.get(patient)
        if state != NOT or part is None or part == before:
            continue
        if not then.would_take(use.modalities, cut.rules, cut.having[patient]):
            yield Move(patient, NOWHERE, part, frozenset(), cut.shown(patient))


def _left(states: Mapping[str, State], use: Use, kept: Collection[Kept], cut: Cut) -> Iterator[Move]:
    """Those who added then, and do not now. Not who is in the same part, to which this site adds nothing now."""
    then = _rules(use)
    for patient in cut.nowhere & {patient for patient, state in states.items() if adds(state)}:
        part = cut.parts.get(patient)
        for was, before in _then(use, kept, patient, states[patient]):
            if part == was and part not in cut.signed:
                continue
            names = None if before is None else before & {*use.modalities}
            if not cut.rules.would_take(cut.used, then, names or ()):
                yield Move(patient, was, NOWHERE, names, frozenset())


def _then(use: Use, kept: Collection[Kept], patient: str, state: State) -> Iterator[tuple[str, frozenset[str] | None]]:
    """Yield in which part, and with what, the patient added in a version; all that is known where that was not kept."""
    if (known := added(use, state)) is not None:
        yield known
        return
    yield from {before.sides[patient]: before.known(patient) for before in kept if patient in before.sides}.items()


def _rules(use: Use) -> Rules:
    return Rules(use.target, use.split or "", use.recipes)


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


def coming_or_going(use: Use, cut: Cut, goes_on: Use | None = None) -> list[int]:
    """Return, by part and by version of these sums, how many patients come into the sums, or leave them, by the
    modalities used alone. Of those who are in the cohort both times, in a part that the site signed for, with the
    modalities that they have now; and of those who had, or have, none but such as this site reads no more, or newly.

    goes_on: the sums of which this one is the next; who was in none of them comes with the data
    """
    then, found = frozenset(use.modalities), list[int]()
    others = {
        patient: bool(cut.shown(patient))
        for patient in use.patients
        if cut.parts.get(patient) in cut.signed and bool(cut.having[patient] & then) != bool(cut.shown(patient))
    }
    new = use.nowhere.keys() - (goes_on.nowhere.keys() if goes_on else set())
    others |= dict.fromkeys((one for one in new if _is_newly_read(one, use, cut)), True)
    for states in versions(use, {*others} | cut.out & {*use.patients}):
        unread = (added(use, states[patient]) for patient in cut.out & states.keys() if adds(states[patient]))
        sides = Counter((one[0], False) for one in unread if one and _is_unread(one[1], cut))
        sides += Counter(
            (cut.parts[patient], comes)
            for patient, comes in others.items()
            if (states[patient] == NOT if comes else adds(states[patient]))
        )
        found += sides.values()
    return found


def _is_newly_read(patient: str, use: Use, cut: Cut) -> bool:
    """Whether this site read none of the modalities with which the patient adds now, by its own site file or policy."""
    if not use.recipes or cut.parts.get(patient) not in cut.signed or not cut.shown(patient):
        return False
    return not cut.having[patient] & use.recipes.keys()


def _is_unread(names: Collection[str], cut: Cut) -> bool:
    """Whether this site reads none of these modalities any more, by its own site file or policy."""
    return bool(cut.rules.recipes) and not {*names} & cut.rules.recipes.keys()
