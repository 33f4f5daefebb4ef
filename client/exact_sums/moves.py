"""Moves: who is in another part of one study than of another, or in a part of one and in none of the other.

In no part is who has a target, and no word in a study's split column, or none of the modalities that a run uses. That
may be the study's doing (it splits by a column, it names other modalities, or fewer columns or slices of one), and then
two sums of two studies differ by that patient as by one who moved. Or the data have changed between: a gap was filled,
an image came. That is asked: would the other study have taken this patient with what the patient was taken with? So who
came or went with the data is not counted, as a new patient is not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from client.data.recipe import Rules
from client.data.split import PARTS
from client.exact_sums.cut import Cut
from client.exact_sums.cuts_file import Kept, Use
from client.exact_sums.groups import NOWHERE, Flows, groups
from client.exact_sums.versions import (
    ABSENT,
    NOT,
    State,
    added,
    adds,
    is_signed,
    last_in_state,
    last_with,
    part_of,
    versions,
)

Stays = Counter[tuple[str, frozenset[str]]]  # part, modalities with which they add both times -> patients
_ALL = ""  # of whatever modality
_NONE = frozenset[str]()
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
    def parts(self) -> set[str]:
        return {self.was, self.now} - {NOWHERE}

    @property
    def word(self) -> str:
        """What a person lets differ: a patient in this part of one and in none of the other, or in these two parts of
        either.
        """
        return " ".join((self.patient, *sorted(self.parts)))


@dataclass(frozen=True)
class Between:
    """How one version of another study's sums differs from a cut.

    moved: who is cut otherwise. stays: how many are cut alike, where anybody is cut otherwise. last: the order of the
        last sum of this version
    """

    moved: list[Move]
    stays: Stays
    last: int


def moves(before: Kept, cut: Cut) -> list[Move]:
    """Return the patients who add to the sums both times, in another part."""
    return [
        Move(patient, before.sides[patient], now, before.known(patient), cut.shown(patient))
        for patient, now in cut.sides.items()
        if before.sides.get(patient, now) != now
    ]


def in_each(use: Use, kept: Collection[Kept], cut: Cut, smallest: int | None = None) -> Iterator[Between]:
    """Yield for each version of another study's sums who is cut otherwise than now, with what each had then, and how
    many are cut alike.

    use, kept: the other study's, which was opened. smallest: of a part that a site signs for; None: whoever is in a
        part that the site signed for then, or now, and not both, comes or leaves
    """
    sides, nowhere = cut.sides, cut.nowhere
    moved = {move.patient for before in kept for move in moves(before, cut)}
    gone = {patient for before in kept for patient in before.sides} & nowhere
    some = moved | {*use.nowhere} & {*sides} | gone
    some |= {patient for change in use.changes[1:] for patient in change if patient in sides}
    otherwise, others = signs_otherwise(use, cut), _other_columns(use, cut)
    if otherwise:  # of how many a part was is asked, and some of them are in the file no more
        some |= {patient for change in use.changes for patient in change} - cut.parts.keys()
    always, _ = next(versions(use, cut.parts.keys() - some))
    each = [*versions(use, some)]
    came, left = (last_in_state(each, added=added) for added in (True, False))
    brought = last_with(use, each)
    always_apart = [*_with_others(always, use, cut, others)]
    alike: Stays | None = None
    for states, last in each:
        then = {patient: [*_then(use, kept, patient, state)] for patient, state in states.items() if adds(state)}
        between = [
            Move(patient, was, sides[patient], before, cut.shown(patient))
            for patient, each in then.items()
            for was, before in each
            if sides.get(patient, was) != was
        ]
        settled = {
            patient: state
            for patient, state in states.items()
            if not _is_data(last, *(now.get(patient, 0) for now in ((left, came) if adds(state) else (came, left))))
            or not _is_so_still(patient, state, use, cut, brought.get(patient, {*use.modalities}))
        }
        differ = [one for one in between if not _is_in_neither(states[one.patient], one.now, cut)]
        differ += taken_or_left_in(settled, use, kept, cut)
        apart = [*_with_others(states, use, cut, others)]
        differ += always_apart + apart
        if otherwise:
            parts = {part for one in between for part in one.parts}
            differ += by_signing(always | states, use, cut, smallest, parts)
        if not differ:
            yield Between([], Counter(), last)
            continue
        alike = staying(_without(always, always_apart), use, kept, cut) if alike is None else alike
        yield Between(differ, alike + staying(_without(states, apart), use, kept, cut), last)


def _without(states: Mapping[str, State], moved: Collection[Move]) -> dict[str, State]:
    """Return the states of all but these: whoever is compared as moved is not also one who stays."""
    patients = {move.patient for move in moved}
    return {patient: state for patient, state in states.items() if patient not in patients}


def _is_data(version: int, now: int, before: int) -> bool:
    """Whether a patient has changed after a version to what the cut of now has, and not back in these sums since."""
    return now > max(version, before)


def _is_so_still(patient: str, state: State, use: Use, cut: Cut, brought: Collection[str]) -> bool:
    """Whether the other study would take a patient now who has come into its sums by the data, and not one who has left
    them, as far as is known: of a modality that this study does not read, or otherwise, it is not, nor of who is in no
    part of this cut.

    brought: the modalities with which the patient was last in its sums
    """
    alike = {name for name in use.modalities if cut.rules.recipe(name) == _rules(use).recipe(name)}
    if patient not in cut.having:
        return True
    takes = bool(alike & cut.having[patient])
    return not takes if adds(state) else takes or not alike.issuperset(brought)


def _is_in_neither(state: State, now: str, cut: Cut) -> bool:
    """Whether the site signed neither for the part of then nor for that of now, and added nothing of the patient."""
    return bool(part_of(state)) and not is_signed(state) and now not in cut.signed


def never_in_a_sum(uses: Collection[Use], moved: Collection[Move], cut: Cut) -> set[str]:
    """Return those of these patients whom no sum of these had in a part that the site signed for, and none has now."""
    signed = {one for use in uses for change in use.changes for one, state in change.items() if _may_be_signed(state)}
    return {move.patient for move in moved if move.patient not in signed and move.now not in cut.signed}


def _may_be_signed(state: State) -> bool:
    return is_signed(state) or (adds(state) and not part_of(state))


def _other_columns(use: Use, cut: Cut) -> frozenset[str]:
    """Return the modalities used both times of which the studies have other columns, or words."""
    both = {name for name in use.modalities if name in cut.used and name in use.recipes and name in cut.rules.recipes}
    return frozenset(name for name in both if use.recipes[name] != cut.rules.recipes[name])


def _with_others(states: Mapping[str, State], use: Use, cut: Cut, others: frozenset[str]) -> Iterator[Move]:
    """Yield who is in the same part with one of these modalities by one study, and without it by the other. Not in a
    part that the site signed for once: of it there are no two sums.
    """
    for patient, state in states.items() if others else ():
        had = added(use, state)
        if not had or not is_signed(state) or had[0] not in cut.signed:
            continue
        if had[0] == cut.side(patient) and (had[1] ^ cut.shown(patient)) & others:
            yield Move(patient, had[0], had[0], had[1], cut.shown(patient))


def signs_otherwise(use: Use, cut: Cut) -> bool:
    """Whether this site signed for a part in any version of these sums and does not now, or the other way round."""
    states = set[State]().union(*(one.values() for one in use.changes))
    return any(is_signed(state) != (part in cut.signed) for state in states if (part := part_of(state)))


def by_signing(
    states: Mapping[str, State], use: Use, cut: Cut, smallest: int | None, moved: Collection[str] = ()
) -> Iterator[Move]:
    """Yield those of a version who are in the same part now, where the site signed for it then, or signs now, and not
    both, unless by the data: because so many have come, or left, that the other study would sign otherwise now.

    states: of all patients. smallest: of a part that the site signs for; None: all of them. moved: the parts that
        somebody is in by one study, and who is in another part by the other
    """
    then, few, many = _sizes(states, use, cut, moved)
    for patient, state in states.items():
        part = part_of(state)
        comes = part in cut.signed
        if not part or cut.side(patient) != part or is_signed(state) == comes:
            continue
        if smallest is not None:
            if comes and then[part] < smallest <= few[part]:
                continue
            if not comes and many[part] < smallest <= then[part]:
                continue
        if comes:
            yield Move(patient, NOWHERE, part, _NONE, cut.shown(patient))
        else:
            _, names = added(use, state) or (part, _NONE)
            yield Move(patient, part, NOWHERE, names, _NONE)


def _newest(use: Use) -> dict[str, State]:
    """Return the states in the version of these sums that was opened last, where their order was kept."""
    if not use.last or not max(use.last):
        return {}
    newest, states = max(range(len(use.last)), key=use.last.__getitem__), dict[str, State]()
    for change in use.changes[: newest + 1]:
        states |= change
    return states


def _sizes(
    states: Mapping[str, State], use: Use, cut: Cut, moved: Collection[str]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Return how many were in each part of a version; how many add in it now, by this study and by that one, at least;
    and how many would be in it now by that one at most.

    Who is new in the file is in the part of now, if both studies agree about all whom it had before. Of whom it had,
    and took in no part, the same is known only where the other study would have taken this patient.
    """
    rules, then = _rules(use), Counter(part for state in states.values() if (part := part_of(state)))
    moved = {*moved}.union(*(_parts_of(patient, state, cut) for patient, state in states.items()))
    newest = _newest(use)
    same = {name for name in use.modalities if cut.rules.recipes.get(name) == use.recipes.get(name)}
    if not moved and same == {*use.modalities} and (rules.target, rules.split) == (cut.rules.target, cut.rules.split):
        own = {patient: part for patient, part in cut.parts.items() if cut.having[patient] & same}
        return then, Counter(part for patient, part in own.items() if cut.side(patient)), Counter(own.values())
    few, many, more = Counter[str](), Counter[str](), 0
    for patient in cut.parts.keys() | cut.out:
        state, now = states.get(patient, ABSENT), cut.side(patient) or NOWHERE
        has = bool(cut.having.get(patient, _NONE) & same)
        if part := part_of(state) or part_of(newest.get(patient, ABSENT)):
            many[part] += 1
            few[part] += has and now == part
            continue
        more += 1
        if now and now not in moved and has:
            few[now] += state == ABSENT or rules.would_take(use.modalities, cut.rules, cut.having[patient])
    return then, few, Counter({part: many[part] + more for part in PARTS})


def _parts_of(patient: str, state: State, cut: Cut) -> set[str]:
    """Return the parts of a patient whom both studies have in one, added or not, if these differ."""
    parts = {part_of(state), cut.parts.get(patient, NOWHERE)}
    return parts if len(parts - {NOWHERE}) == 2 else set()


def staying(states: Mapping[str, State], use: Use, kept: Collection[Kept], cut: Cut) -> Stays:
    """Return how many of these patients were in a version in the part in which they are now, for which the site signed
    both times, by part and by the modalities with which they add both times.
    """
    alike: Stays = Counter()
    for patient, state in states.items():
        now = cut.side(patient)
        if now in cut.signed and (is_signed(state) or (adds(state) and not part_of(state))):
            shown = cut.shown(patient)
            alike.update(
                (now, shown if had is None else shown & had)
                for was, had in _then(use, kept, patient, state)
                if was == now
            )
    return alike


def words_for(use: Use, kept: Collection[Kept], cut: Cut) -> set[str]:
    """Return the words that a person gives for a study that differs so from any version of another study's sums."""
    return {move.word for between in in_each(use, kept, cut) for move in between.moved}


def by_other_columns(use: Use, kept: Collection[Kept], cut: Cut, smallest: int, goes_on: Use | None) -> list[int]:
    """Return, for each version of these sums of the same study, by other columns of the site for the target or the
    split, how many patients of a part come into the sums or leave them by the columns of now, and with each modality;
    or are in them with another part of a target that has several.

    goes_on: the sums of which this one is the next. Who was in none of them, or in them, after the sums of the other
        columns were opened, comes or leaves with the data
    """
    if use.split is None or (use.target, use.split) == (cut.rules.target, cut.rules.split):
        return []
    sizes = list[int]()
    for between in in_each(use, kept, cut, smallest):
        moved = [one for one in between.moved if NOWHERE in (one.was, one.now) or one.was == one.now]
        patients = [one.patient for one in moved]
        own = [*versions(goes_on, patients)] if goes_on else []
        came, left = (last_in_state(own, added=added) for added in (False, True))
        moved = [one for one in moved if (came if one.was == NOWHERE else left).get(one.patient, 0) <= between.last]
        sizes += differing(moved, {*use.modalities} & cut.used, Counter(), smallest)
    return sizes


def taken_or_left_in(states: Mapping[str, State], use: Use, kept: Collection[Kept], cut: Cut) -> list[Move]:
    """Return those of one version, in which these patients were in these states. Nobody, where it was not kept by what
    the other study took its patients.
    """
    if use.split is None:
        return []
    return [*_taken(states, use, cut), *_left(states, use, kept, cut)]


def _taken(states: Mapping[str, State], use: Use, cut: Cut) -> Iterator[Move]:
    """Those who add now, and did not then. Not who is in a part to which this site adds nothing."""
    then, sides = _rules(use), cut.sides
    for patient, state in states.items():
        part = sides.get(patient)
        if state != NOT or part not in cut.signed:
            continue
        if not then.would_take(use.modalities, cut.rules, cut.having[patient]):
            yield Move(patient, NOWHERE, part, frozenset(), cut.shown(patient))


def _left(states: Mapping[str, State], use: Use, kept: Collection[Kept], cut: Cut) -> Iterator[Move]:
    """Those who added then, and do not now. Not who was in a part to which this site added nothing then either."""
    then = _rules(use)
    for patient in cut.nowhere & {patient for patient, state in states.items() if adds(state)}:
        for was, before in _then(use, kept, patient, states[patient]):
            if part_of(states[patient]) and not is_signed(states[patient]):
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


def differing(moved: Collection[Move], both: Collection[str], stays: Stays, smallest: int) -> list[int]:
    """Return the sizes of all groups that sums of the two cuts show (`client.exact_sums.groups`), of all patients and
    of those with each modality.

    both: the modalities used by both cuts. Of one that a single cut used there are no two sums
    stays: of those who are cut alike. smallest: of a group that may be shown
    """
    flows: defaultdict[str, Flows] = defaultdict(Counter)
    for one in moved:
        then, now = one.before or frozenset(), one.shown
        flows[_ALL][one.was, one.now] += 1
        for name in (then | now) & frozenset(both):
            flows[name][one.was if name in then else NOWHERE, one.now if name in now else NOWHERE] += 1
    for (part, names), number in stays.items():
        for name in (_ALL, *names):
            if name in flows:
                flows[name][part, part] += number
    sizes = [size for each in flows.values() for size in groups(each, smallest)]
    return [*sizes, *(_PERHAPS_ONE for one in moved if one.before is None)]
