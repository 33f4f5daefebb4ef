"""Choices: who comes into the sums of a study, or leaves them, because a run uses other modalities than one before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from client.exact_sums.cut import Cut
from client.exact_sums.cuts_file import Use
from client.exact_sums.groups import NOWHERE
from client.exact_sums.moves import by_signing, signs_otherwise
from client.exact_sums.versions import NOT, added, adds, last_in_state, versions


def coming_or_going(use: Use, cut: Cut, smallest: int, goes_on: Use | None = None) -> list[int]:
    """Return, by part and by version of these sums, how many patients come into the sums, or leave them, by the
    modalities used alone. Of those who are in the cohort both times, in a part that the site signed for, with the
    modalities that they have now; and of those who had, or have, none but such as this site reads no more, or newly;
    and, with each modality, of those in a part for which it signs by the modalities used.

    goes_on: the sums of which this one is the next. Who was in none of them, after those of the other modalities were
        opened, comes with the data
    """
    then, found = frozenset(use.modalities), list[int]()
    others = {
        patient: bool(cut.shown(patient))
        for patient in use.patients
        if cut.parts.get(patient) in cut.signed and bool(cut.having[patient] & then) != bool(cut.shown(patient))
    }
    read = {patient for patient in use.nowhere if patient not in others and _is_newly_read(patient, use, cut)}
    came = last_in_state(versions(goes_on, read) if goes_on else (), added=False)
    otherwise = signs_otherwise(use, cut)
    if otherwise:  # with a part also those come who had no modality used then
        there = {one for one in use.nowhere if cut.parts.get(one) in cut.signed and cut.side(one)}
        others |= dict.fromkeys((one for one in there if not cut.having[one] & then and one not in read), True)
    asked = {*cut.parts} | {*use.patients} if otherwise else {*others} | read | cut.out & {*use.patients}
    for states, last in versions(use, asked):
        unread = (added(use, states[patient]) for patient in cut.out & states.keys() if adds(states[patient]))
        sides = Counter((one[0], False) for one in unread if one and _is_unread(one[1], cut))
        now = others | {patient: True for patient in read if came.get(patient, 0) <= last}
        sides += Counter(
            (cut.parts[patient], comes)
            for patient, comes in now.items()
            if (states[patient] == NOT if comes else adds(states[patient]))
        )
        signing = [*by_signing(states, use, cut, smallest)] if otherwise else []
        sides += Counter((one.was or one.now, one.was == NOWHERE) for one in signing)
        having = Counter(
            (one.was, one.now, name) for one in signing for name in (one.before or one.shown) & then & cut.used
        )
        found += [*sides.values(), *having.values()]
    return found


def _is_newly_read(patient: str, use: Use, cut: Cut) -> bool:
    """Whether this site read none of the modalities with which the patient adds now, by its own site file or policy."""
    if not use.recipes or cut.parts.get(patient) not in cut.signed or not cut.shown(patient):
        return False
    return not cut.having[patient] & use.recipes.keys()


def _is_unread(names: Collection[str], cut: Cut) -> bool:
    """Whether this site reads none of these modalities any more, by its own site file or policy."""
    return bool(cut.rules.recipes) and not {*names} & cut.rules.recipes.keys()
