"""Cuts: which patients were training, validation and test patients of the studies whose sums were opened, and whether
another study may cut them otherwise. Without privacy only.

Two sums of the test patients, of two studies whose cuts differ by one patient, show that patient. So where the same
patients are cut otherwise, each side by which a part differs has nobody or at least `smallest` of them. And where no
other site cuts its patients otherwise, the difference is this site's own: so a person here is told of it at approval,
and allows it or not. Where `smallest` is 1, as in a simulation, nobody is to be hidden and nothing is asked. The cuts
are compared in pairs: of three or more a coordinator may compute smaller groups, which this does not hold against it.

A cut is of the patients who add to the sums, by the modalities of the run: who has nothing else is in none of them, and
hides nobody. Within one study the modalities of a run are chosen by what the sites sign, a colluding one too: so who
comes into the sums, or leaves them, by that alone is a side of a part like any other. Cuts that agree about all
patients whom they share are one entry of the file (`client/cuts_file.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from client.cut import Cut
from client.cuts_file import Book, Kept, Use, opened
from common.errors import AnsweredError


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[int]:
    """Return the sizes of all sides by which a part differs between two cuts, of the patients who are in both."""
    moved = [(one[patient], other[patient]) for patient in one.keys() & other.keys() if one[patient] != other[patient]]
    sides = [("from", was) for was, _ in moved] + [("to", now) for _, now in moved]
    return [sides.count(side) for side in set(sides)]


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


def require_alike(state: Path, study: str, cut: Cut, smallest: int) -> None:
    """AnsweredError when this study (a digest) cuts otherwise than one that was opened before, by a few patients of a
    part or without a person's word; or when its own sums would gain or lose a few by the modalities used.
    """
    with opened(state) as book:
        _require_alike(book.cuts, study, cut.sides, smallest)
        _require_steady(book.uses, study, cut, smallest)


def opening(state: Path, study: str, cut: Cut, smallest: int) -> None:
    """Keep that sums of this cut may be opened from here on. AnsweredError as `require_alike`."""
    with opened(state) as book:
        _require_alike(book.cuts, study, cut.sides, smallest)
        _require_steady(book.uses, study, cut, smallest)
        _keep_use(book, study, cut)
        _keep_cut(book.cuts, study, cut.sides)


def asked_about(state: Path, study: str, cut: Cut) -> int:
    """Return by how many patients of a part this study cuts otherwise than opened ones where no person allowed it."""
    with opened(state) as book:
        news = [before.sides for before in book.cuts if study not in before.allowed]
        return max((size for sides in news for size in differing(sides, cut.sides)), default=0)


def allow(state: Path, study: str, cut: Cut) -> None:
    """A person lets this study differ from the cuts that were opened by now."""
    with opened(state) as book:
        for before in book.cuts:
            if differing(before.sides, cut.sides) and study not in before.allowed:
                before.allowed.append(study)


def _keep_use(book: Book, study: str, cut: Cut) -> None:
    modalities = sorted(cut.used)
    patients = {patient for patient, part in cut.parts.items() if part in cut.signed}
    for use in book.uses:
        if (use.study, use.modalities) == (study, modalities):
            use.patients = sorted(patients.union(use.patients))
            return
    book.uses.append(Use(study, modalities, sorted(patients)))


def _keep_cut(kept: list[Kept], study: str, sides: Mapping[str, str]) -> None:
    for before in kept:
        if not differing(before.sides, sides):
            before.sides.update(sides)
            before.studies = sorted({*before.studies, study})
            return
    others = sorted({one for before in kept if differing(before.sides, sides) for one in before.studies})
    kept.append(Kept(dict(sides), [study], others))  # both ways: those differ from this one as this does from them


def _require_alike(kept: list[Kept], study: str, sides: Mapping[str, str], smallest: int) -> None:
    sizes = [(size, study in before.allowed) for before in kept for size in differing(before.sides, sides)]
    if sizes and min(sizes)[0] < smallest:
        raise AnsweredError(
            f"This study cuts the patients otherwise than one that was opened before, by {min(sizes)[0]} patients of a "
            f"part: the difference of two sums would show these. Fewer than {smallest} are not shown "
            "(policy.without_privacy.smallest_part). Take the split of the earlier study, or one that differs by more."
        )
    if smallest > 1 and not all(allowed for _, allowed in sizes):
        raise AnsweredError(
            f"This study cuts the patients otherwise than one that was opened before, by up to {max(sizes)[0]} "
            "patients of a part. If no other site does, the difference of two sums is these patients' alone. Take the "
            "split of the earlier study; or a person at this site allows it: wardround site approve STUDY.yaml, which "
            "asks."
        )


def _require_steady(uses: list[Use], study: str, cut: Cut, smallest: int) -> None:
    sizes = [size for use in uses if use.study == study for size in coming_or_going(use, cut)]
    if sizes and min(sizes) < smallest:
        raise AnsweredError(
            f"Sums of this study were opened with other modalities: by these {min(sizes)} patients of a part, who have "
            "no others, would come into its sums or leave them, and the difference of two sums would show them. Fewer "
            f"than {smallest} are not shown (policy.without_privacy.smallest_part). This site goes on where the run "
            "uses the modalities of before, because as many sites have them again; other modalities are another study."
        )
