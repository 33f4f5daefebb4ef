"""Exclusions: the patients who opted out. Their rows are passed over wherever a table is read by patient.

The list is the whole hospital's: most of its lines may be nobody here, which is counted and refused to nobody. A line
that is a patient here but for how it is written excludes that patient, and is named to the site as a near miss. A list
that finds nobody, takes out many by what stands beside the numbers, or has a line that can be no patient's number, is
looked at by a person (`client.data.accepted`).
A private study that is at work goes on meanwhile, and takes nobody in again (`client.data.left_out`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.data.dicom import find
from client.data.list_lines import Line, lines_of
from client.data.list_text import list_text
from client.data.named import here
from client.data.near import can_be_no_number, spellings
from client.data.runs import written
from client.data.swallowed import Numbers
from client.data.tables import read_table
from client.site import SiteFolder
from common.errors import DataError

_KEY = "exclusions"
_SHOWN = 8  # numbers of lines in a sentence
_MANY_INSIDE, _PART_INSIDE = 10, 0.05  # lines, and of all lines: from then on it is no chance that others are found


@dataclass(frozen=True, repr=False)
class OptOuts:
    """A list as it was read. `content`: its bytes, which a person's consent is to."""

    path: Path
    lines: tuple[Line, ...]
    content: bytes


@dataclass(frozen=True, repr=False)
class Found:
    """What a list comes to at this site. It prints numbers of lines, and never a patient's.

    sought: who is in any reading of the target's file; everybody: who is in that of studies with differential privacy
    patients: who of those `sought` is excluded, as the file writes them; `lines`: every line as it stands
    here, near: the lines that are a patient here, and those of them that are it but for how it is written, or are
    several; inside: those with a number beside the line's own, or in another column, by which alone a patient is
    excluded, `by_inside` of them together; parts: what in a line may be a number, as it stands there
    doubtful: the lines that match nobody and can be no patient's number; odd: those that are no row of the list, also
    where one of their cells is a patient here
    """

    listed: int
    here: tuple[int, ...]
    near: tuple[int, ...]
    inside: tuple[int, ...]
    doubtful: tuple[int, ...]
    odd: tuple[int, ...]
    patients: frozenset[str]
    by_inside: int
    lines: frozenset[str]
    parts: frozenset[str]
    sought: frozenset[str]
    everybody: frozenset[str]
    content: bytes

    @property
    def to_be_accepted(self) -> bool:
        """Whether a person has to look at the list before anything is done with the data."""
        return bool(self.doubtful or self.odd or self.takes_others) or (self.listed > 0 and not self.here)

    @property
    def takes_others(self) -> bool:
        """Whether days, wards or telephone numbers in its lines take out so many that a person must have meant it."""
        return len(self.inside) >= max(_MANY_INSIDE, _PART_INSIDE * self.listed)

    @property
    def passed_over(self) -> frozenset[str]:
        """Whose rows are not read in any table."""
        return self.patients | self.lines

    @property
    def forgotten(self) -> frozenset[str]:
        """Whose prepared rows are deleted, also those of exports that may have written the number otherwise."""
        return self.passed_over | self.parts | frozenset[str]().union(*map(spellings, self.patients))

    def said(self) -> str:
        """`1,204 listed, 3 found here, 1 by a near miss (line 17)`, and what else a person should know."""
        parts = [f"{self.listed:,} listed, {len(self.here):,} found here"]
        if self.near:
            parts.append(f"{len(self.near):,} by a near miss ({_lines(self.near)})")
        if len(self.patients) != len(self.here):
            parts.append(f"{len(self.patients):,} patients left out")
        if self.by_inside:
            patients = "1 patient" if self.by_inside == 1 else f"{self.by_inside:,} patients"
            parts.append(f"{patients} by another number in a line ({_lines(self.inside)})")
        if self.doubtful:
            parts.append(f"{len(self.doubtful):,} that can be no patient's number ({_lines(self.doubtful)})")
        if self.odd:
            parts.append(f"{len(self.odd):,} that cannot be read for certain ({_lines(self.odd)})")
        return ", ".join(parts)


def read_exclusions(folder: SiteFolder) -> frozenset[str]:
    """The lines of the list as they stand, without empty ones; none where there is no list. Of an odd line, and of what
    stands in other columns, also a mark, so that a list that leaves out others is seen as another. Raises as
    `read_list`.
    """
    listed = read_list(folder)
    lines = () if listed is None else listed.lines
    marks = {f"\0{line.number}" for line in lines if line.odd}
    marks |= {f"\0{cell}" for line in lines for cell in line.beside}
    return frozenset(marks).union(text for line in lines for text in line.texts if text)


def read_list(folder: SiteFolder) -> OptOuts | None:
    """The list that `exclusions` in site.yaml names; None where the key is not there.

    DataError for a file that cannot be read for certain: nobody's wish is dropped because a file was.
    """
    if folder.file.exclusions is None:
        return None
    path = folder.path(folder.file.exclusions)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}). Check site.yaml, key {_KEY}, and the file's permissions."
        ) from None
    return OptOuts(path, tuple(lines_of(path, list_text(content), folder.file.patient)), content)


def found_here(folder: SiteFolder, others: Collection[str] = ()) -> Found:
    """Match the list with the patients of the target's file, and with `others` who are here. Raises DataError as
    `read_list` and the table do.

    A study without differential privacy keeps rows over several lines which one with it takes for broken ones, that
    swallowed a neighbour's (`client.data.swallowed`): so whom the list means is sought in both readings.
    """
    listed = read_list(folder)
    if listed is None:
        return match(OptOuts(folder.root, (), b""), ())
    apart, whole = (_patients(folder, numbers) for numbers in (True, False))
    return match(listed, (*apart, *others), whole)


def _patients(folder: SiteFolder, apart: bool) -> tuple[str, ...]:
    """The patients of every target's file; its rows are for `read_labels` to judge. `apart`: without those that
    swallowed another.
    """
    found: list[str] = []
    for name, masks in folder.file.target.masks.items():
        key = f"target.masks.{name}"
        found += find(folder.path(masks.folder), masks.patient_tag, key, lambda *_: None, gaps=True).patients
    for key, source in folder.file.target.tables.items():
        column = source.patient or folder.file.patient
        numbers = Numbers(column) if apart else None
        table = read_table(folder.path(source.file), f"{key}.file", gaps=True, numbers=numbers)
        found += table.column(column, f"{key}.patient")
    return tuple(found)


def match(listed: OptOuts, patients: Iterable[str], others: Iterable[str] = ()) -> Found:
    """Who of `patients` is listed, or of the `others` of another reading: as written, or but for how it is written. All
    that a line may mean are excluded.
    """
    everybody = frozenset(filter(None, patients))
    index = here(everybody.union(others))
    meant = [(line, index.meant(line)) for line in listed.lines]
    own = _union(several for _, one in meant for several in one.own)
    alone = {several for several in {one for _, both in meant for one in both.inside} if not several <= own}
    return Found(
        listed=len(listed.lines),
        here=tuple(line.number for line, one in meant if one),
        near=tuple(line.number for line, one in meant if one and one.is_near(line.texts if line.odd else (line.text,))),
        inside=tuple(line.number for line, one in meant if not alone.isdisjoint(one.inside)),
        doubtful=tuple(line.number for line, one in meant if not (line.odd or one) and _is_no_number(line)),
        odd=tuple(line.number for line in listed.lines if line.odd),
        patients=own | _union(alone),
        by_inside=len(_union(alone) - own),
        sought=index.everybody,
        everybody=everybody,
        lines=frozenset(text for line in listed.lines for text in line.texts if text),
        parts=frozenset(part for line in listed.lines for text in line.texts for part in written(text)),
        content=listed.content,
    )


def _is_no_number(line: Line) -> bool:
    return any(map(can_be_no_number, (line.text, *line.own)))


def _union(several: Iterable[frozenset[str]]) -> frozenset[str]:
    """Each set once: thousands of lines may mean the same thousands of patients."""
    return frozenset[str]().union(*set(several))


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN]))
    return ("line " if len(numbers) == 1 else "lines ") + shown + (", …" if len(numbers) > _SHOWN else "")
