"""Cuts: which patients were training, validation and test patients of the studies whose sums were opened, and whether
another study may cut them otherwise. Without privacy only.

Two sums of the test patients, of two studies whose cuts differ by one patient, show that patient. So where the same
patients are cut otherwise, each side by which a part differs has nobody or at least `smallest` of them. And where no
other site cuts its patients otherwise, the difference is this site's own: so a person here is told of it at approval,
and allows it or not. Where `smallest` is 1, as in a simulation, nobody is to be hidden and nothing is asked. The cuts
are compared in pairs: of three or more a coordinator may compute smaller groups, which this does not hold against it.

A cut is of the patients who add to the sums, by the modalities of the run: who has nothing else is in none of them, and
hides nobody. Who is in the sums of one study and in none of another, by what the studies say, is a side as well
(`client/exact_sums/moves.py`). Within one study the modalities of a run are chosen by what the sites sign, a colluding
one too: so who comes into the sums, or leaves them, by that alone is a side of a part like any other. Cuts that agree
about all patients whom they share are one entry of the file (`client/exact_sums/cuts_file.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from client.exact_sums.choices import coming_or_going
from client.exact_sums.cut import Cut
from client.exact_sums.cuts_file import Book, Kept, Use, opened
from client.exact_sums.groups import NOWHERE
from client.exact_sums.moves import (
    Move,
    by_other_columns,
    differing,
    in_each,
    moves,
    never_in_a_sum,
    words_for,
)
from client.exact_sums.renumbered import keep_unknown
from client.exact_sums.versions import ADDS, keep_version
from common.errors import AnsweredError

Words = frozenset[str]  # the studies that a person's word lets differ


def require_alike(state: Path, study: str, cut: Cut, smallest: int) -> None:
    """AnsweredError when this study (a digest) cuts otherwise than one that was opened before, by a few patients of a
    part or without a person's word; or when its own sums would gain or lose a few by the modalities used.
    """
    with _alike(state, study, cut, smallest):
        pass


def opening(state: Path, study: str, cut: Cut, smallest: int) -> None:
    """Keep that sums of this cut may be opened from here on. AnsweredError as `require_alike`."""
    with _alike(state, study, cut, smallest) as book:
        keep_unknown(book, cut)
        _keep_use(book, study, cut)
        _keep_cut(book.cuts, study, cut)


@contextmanager
def _alike(state: Path, study: str, cut: Cut, smallest: int) -> Iterator[Book]:
    """Give what is kept where this cut is alike. Else keep what was refused, for the person who is asked about it."""
    refused = None
    with opened(state) as book:
        try:
            _require_alike(book, study, cut, smallest)
        except AnsweredError as problem:
            refused = problem
            _keep_refused(book, study, cut)
        else:
            _require_steady(book, study, cut, smallest)
            yield book
    if refused is not None:
        raise refused


def _keep_refused(book: Book, study: str, cut: Cut) -> None:
    said = [sorted(cut.used), sorted(cut.signed)]
    if said not in book.refused.setdefault(study, []):
        book.refused[study].append(said)


def _asked(book: Book, study: str, cut: Cut) -> list[Cut]:
    """This cut, and as the runs that were refused took the same patients, with fewer modalities say."""
    refused = book.refused.get(study, [])
    return [cut, *(replace(cut, used=frozenset(used), signed=frozenset(parts)) for used, parts in refused)]


def asked_about(state: Path, study: str, cut: Cut, smallest: int = 1) -> int:
    """Return by how few patients whom sums show apart this study cuts otherwise than opened ones where no
    person allowed it, or where no person can, for they are fewer than `smallest`; 0 where neither is so. Asked is also
    of the modalities and parts of its runs that were refused.
    """
    with opened(state) as book:
        found = [one for asked in _asked(book, study, cut) for one in _differences(book, study, asked, smallest)]
        sizes = [min(sizes) for sizes, allowed in found if not allowed or min(sizes) < smallest]
        return min([*sizes, *_unsteady(book, study, cut, smallest)], default=0)


def told_of(state: Path, study: str, cut: Cut) -> frozenset[str]:
    """Return whom, of each opened study, a person lets this study differ by who is asked now; pseudonyms are in it."""
    with opened(state) as book:
        return _told(book, study, cut)


def allow(state: Path, study: str, cut: Cut, told: frozenset[str] | None = None) -> None:
    """Keep that a person lets this study (a digest) differ from the cuts that were opened by now.

    told: what the person was told of (`told_of`). AnsweredError where a sum that was opened since makes it more
    """
    with opened(state) as book:
        if told is not None and not _told(book, study, cut) <= told:
            raise AnsweredError(
                "While the question stood, sums of another study were opened from which this one differs too. Nothing "
                "was allowed: ask again, with the same command."
            )
        for asked in _asked(book, study, cut):
            _allow(book, study, asked)
        book.refused.pop(study, None)


def _told(book: Book, study: str, cut: Cut) -> frozenset[str]:
    told = set[str]()
    for asked in _asked(book, study, cut):
        for use in book.uses:
            its = [before for before in book.cuts if use.study in before.studies]
            told |= {f"{use.study} {word}" for word in words_for(use, its, asked) if use.study != study}
        told |= {
            f"{one} {move.word}" for before in book.cuts for move in moves(before, asked) for one in before.studies
        }
    return frozenset(told)


def _allow(book: Book, study: str, cut: Cut) -> None:
    for before in book.cuts:
        if moves(before, cut) and study not in before.allowed:
            before.allowed.append(study)
    for use in book.uses:
        its = [before for before in book.cuts if use.study in before.studies]
        if use.study != study and (more := words_for(use, its, cut)):
            use.words[study] = sorted(more.union(use.words.get(study, ())))


def _differences(book: Book, study: str, cut: Cut, smallest: int) -> Iterator[tuple[list[int], bool]]:
    """Yield for each opened study that cuts otherwise the sizes by which it does, and whether a person allowed all of
    it: once for each choice of modalities that the study used, and each version of who was in these sums.

    A study's entries are one cut: a patient who came later is shown beside those who were there before.
    """
    now = frozenset[str]().union(*(cut.shown(patient) for patient in cut.sides))
    for other in sorted({one for before in book.cuts for one in before.studies}):
        its = [before for before in book.cuts if other in before.studies]
        used = {name for before in its for names in before.modalities.values() for name in names}
        uses = [use for use in book.uses if use.study == other != study]
        for use in uses or [Use(other, sorted(used), changes=_of_before(book, other))]:
            for one in in_each(use, its, cut, smallest):
                own = [mine for mine in book.uses if mine.study == other == study]
                # Who was in none of the study's own sums may be in an entry that it shares with others.
                nobody = never_in_a_sum(own, one.moved, cut) if own else set[str]()
                moved = [move for move in one.moved if move.patient not in nobody]
                if sizes := differing(moved, now.intersection(use.modalities), one.stays, smallest):
                    yield sizes, _are_allowed(moved, its, use, study)


def _are_allowed(some: list[Move], its: list[Kept], use: Use, study: str) -> bool:
    """Whether a person allowed each of these: by a word for it, and by the entries that have the patient in that part,
    by these alone where no use was kept.
    """
    words = {*use.words.get(study, ())}
    between = [move for move in some if NOWHERE not in (move.was, move.now) and move.was != move.now]
    told = all(move.word in words for move in some if use.split is not None or NOWHERE in (move.was, move.now))
    return told and all(
        study in before.allowed for move in between for before in its if before.sides.get(move.patient) == move.was
    )


def _keep_use(book: Book, study: str, cut: Cut) -> None:
    use, order = _going_on(book, study, cut), book.order
    if use is None:
        first = all(other.study != study for other in book.uses)
        use = Use(study, sorted(cut.used), changes=_of_before(book, study) if first else [])
        book.uses.append(use)
    keep_version(use, cut, order)
    added = frozenset[str]() if use.split is None else use.added  # before it was kept: who is nowhere now was then
    for patient in sorted(cut.nowhere - added):
        part = cut.parts.get(patient, NOWHERE)
        same = part not in cut.signed and use.nowhere.get(patient, part) == part
        use.nowhere[patient] = part if same else NOWHERE
    came = {one for one, part in cut.sides.items() if one in use.nowhere and part in cut.signed}
    use.came = sorted({*use.came} | came)
    use.patients = sorted({*use.patients} | {patient for patient, part in cut.parts.items() if part in cut.signed})
    use.target, use.split, use.recipes = cut.rules.target, cut.rules.split, dict(cut.rules.recipes)
    _keep_words(book, use, cut)


def _going_on(book: Book, study: str, cut: Cut) -> Use | None:
    """Return the sums of this study, with these modalities and by these columns, with which this cut's goes on."""
    rules = (cut.rules.target, cut.rules.split)
    alike = [use for use in book.uses if (use.study, use.modalities) == (study, sorted(cut.used))]
    return next((use for use in alike if use.split is None or (use.target, use.split) == rules), None)


def _of_before(book: Book, study: str) -> list[dict[str, str]]:
    """Return as a version the sums of a study of which no use was kept; none where there are none."""
    patients = {patient for before in book.cuts if study in before.studies for patient in before.sides}
    return [dict.fromkeys(sorted(patients), ADDS)] if patients else []


def _keep_words(book: Book, use: Use, cut: Cut) -> None:
    """Where a person let this study differ from another one, that one differs from it as much."""
    for other in book.uses:
        word = {*other.words.get(use.study, ())}
        if not word <= {*use.words.get(other.study, ())}:
            its = [before for before in book.cuts if other.study in before.studies]
            word &= words_for(other, its, cut)
            use.words[other.study] = sorted(word.union(use.words.get(other.study, ())))


def _keep_cut(kept: list[Kept], study: str, cut: Cut) -> None:
    """Keep the part of each patient who adds to the sums, in an entry of the study.

    Who was in another part of earlier studies comes into an entry that allows these: they differ from this study as it
    does from them. A person's word is for what was kept when it was given: nothing is added to an entry that has one.
    """
    groups: dict[Words, list[str]] = {}
    for patient in cut.sides:
        groups.setdefault(_words(kept, patient, cut), []).append(patient)
    for words, patients in groups.items():
        new = [patient for patient in patients if not _is_kept(kept, study, patient, cut, words)]
        if new:
            _add(kept, study, cut, new, words)


def _words(kept: list[Kept], patient: str, cut: Cut) -> Words:
    side = cut.parts[patient]
    return frozenset(one for before in kept if before.sides.get(patient, side) != side for one in before.studies)


def _is_kept(kept: list[Kept], study: str, patient: str, cut: Cut, words: Words) -> bool:
    return any(
        before.sides.get(patient) == cut.parts[patient]
        and study in before.studies
        and words <= set(before.allowed)
        and cut.shown(patient) <= (before.known(patient) or cut.shown(patient))
        for before in kept
    )


def _add(kept: list[Kept], study: str, cut: Cut, patients: list[str], words: Words) -> None:
    into = next((one for one in kept if not words and not one.allowed and not moves(one, cut)), None)
    if into is None:
        into = Kept({}, [], sorted(words))
        kept.append(into)
    into.studies = sorted({study, *into.studies})
    for patient in patients:
        known = into.known(patient)
        if patient not in into.sides or known is not None:  # unknown ones stay unknown
            into.modalities[patient] = sorted(cut.shown(patient) | (known or frozenset()))
        into.sides[patient] = cut.parts[patient]


def _require_alike(book: Book, study: str, cut: Cut, smallest: int) -> None:
    found = [(min(sizes), allowed) for sizes, allowed in _differences(book, study, cut, smallest)]
    if found and min(found)[0] < smallest:
        raise AnsweredError(
            f"This study cuts the patients otherwise than one that was opened before, by {min(found)[0]} patients of a "
            "part, of several, or of a modality there: sums of both, added and subtracted, would show these apart. "
            f"Fewer than {smallest} are not shown (policy.without_privacy.smallest_part). Take the split and the "
            "modalities of the earlier study; another split is given at a hospital that has so many patients that all "
            "such groups are larger: some hundreds, where parts of 15 % are drawn anew."
        )
    news = [size for size, allowed in found if not allowed]
    if smallest > 1 and news:
        raise AnsweredError(
            f"This study cuts the patients otherwise than one that was opened before, by as few as {min(news)} "
            "patients of a part, of several, or of a modality there. If no other site does, the difference of two sums "
            "is these patients' alone. Take the split of the earlier study; or a person at this site allows it: "
            "wardround site approve STUDY.yaml, which asks."
        )


def _unsteady(book: Book, study: str, cut: Cut, smallest: int) -> list[int]:
    """Return the numbers below `smallest` of who would come into the study's own sums or leave them."""
    sizes = [*_by_modalities(book, study, cut, smallest), *_by_columns(book, study, cut, smallest)]
    return [size for size in sizes if size < smallest]


def _by_modalities(book: Book, study: str, cut: Cut, smallest: int) -> list[int]:
    goes_on = _going_on(book, study, cut)
    return [size for use in book.uses if use.study == study for size in coming_or_going(use, cut, smallest, goes_on)]


def _by_columns(book: Book, study: str, cut: Cut, smallest: int) -> list[int]:
    its = [before for before in book.cuts if study in before.studies]
    goes_on = _going_on(book, study, cut)
    return [
        size for use in book.uses if use.study == study for size in by_other_columns(use, its, cut, smallest, goes_on)
    ]


def _require_steady(book: Book, study: str, cut: Cut, smallest: int) -> None:
    if any(size < smallest for size in _by_columns(book, study, cut, smallest)):
        raise AnsweredError(
            "Sums of this study were opened with another column of this site for the target or the split: a few "
            "patients who have a gap in one of them would come into its sums or leave them, and the difference of two "
            f"sums would show them. Fewer than {smallest} are not shown (policy.without_privacy.smallest_part). Name "
            "the columns of before in site.yaml, and call them as before in an export that renames them."
        )
    if sizes := _unsteady(book, study, cut, smallest):
        raise AnsweredError(
            f"Sums of this study were opened with other modalities: by these {min(sizes)} patients of a part, who have "
            "no others, would come into its sums or leave them, and the difference of two sums would show them. Fewer "
            f"than {smallest} are not shown (policy.without_privacy.smallest_part). This site goes on where the run "
            f"uses the modalities of before: once this site has {smallest} training patients of each again, and as "
            "many sites sign them; what site.yaml or policy.modalities names newly is left out there, and the smallest "
            "part is what it was. Other modalities are another study, which is refused for the same patients."
        )
