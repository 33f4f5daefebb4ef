"""Everybody: the cases of all patients of whom this site has any data of a study, with a target or without one.

For a use that needs no target, as a prediction or to watch how data change. Nobody of them is in a part of the split,
and no sum is made of them: they are no cohort, and no round takes them. Who opted out is not among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from client.data.accepted import require_accepted
from client.data.cache import Cache
from client.data.cohort import OPTED_OUT
from client.data.exclusions import Found, found_here
from client.data.labels import patients_of
from client.data.left_out import left_out
from client.data.prepare import silent, unforeseen
from client.data.pseudonym import SiteSecret, site_secret
from client.data.rows import Rows
from client.data.site_files import Progress
from client.data.sources import Reader, Source, sources_here
from client.data.tensors import inputs_of
from client.site import SiteFolder
from common.errors import DataError, WardroundError
from common.study import Study

WITHOUT = "patients without a target, who are in no part of the study's split"


@dataclass(frozen=True)
class Everybody:
    """One row a patient.

    patients: the hospital's own numbers, in the order of the rows
    inputs, present: as of a `Batch`
    counts: what was left out and why, for this site's eyes; opt_outs: as of a `Cohort`
    """

    site: str
    patients: tuple[str, ...] = field(repr=False)
    inputs: Mapping[str, Tensor] = field(repr=False)
    present: Tensor = field(repr=False)
    without_target: int = field(repr=False)
    counts: Mapping[str, int] = field(repr=False)
    opt_outs: str = field(default="", repr=False)

    def __len__(self) -> int:
        return len(self.patients)


def prepare_everybody(
    folder: SiteFolder, study: Study, *, cache: Path | None = None, progress: Progress | None = None
) -> Everybody:
    """Return the cases of all patients who stand in any of the study's tables or folders of images here.

    What was prepared before for the same use is reused, and so is what was decoded for training, which stays as it is.
    Raises as `prepare`; but that nobody has a target, or that few have a modality, is no error here.
    """
    try:
        return _prepared(folder, study, cache, progress or silent)
    except WardroundError:
        raise
    except Exception as error:
        problem = unforeseen(error)
    raise DataError(f"{folder.root}: cannot be prepared: {problem}.")  # outside of `except`: it keeps no context


def _prepared(folder: SiteFolder, study: Study, cache: Path | None, progress: Progress) -> Everybody:
    state, counts = folder.path(folder.file.state), Counter[str]()
    secret, store = site_secret(state), Cache(cache or state / "cache")
    sources = sources_here(folder, study)
    here = _all_here(folder, study, sources, progress)
    found = found_here(folder, here)
    try:
        require_accepted(state, found)
        folder = replace(folder, excluded=found.passed_over)
        patients = _staying(here, found, study, state, secret, counts)
        known = here | found.everybody | found.passed_over
        rows = Rows(folder, study, sources, patients, known, secret, progress, everybody=True)
        entries = rows.entries(store)
    finally:
        store.forget({secret.pseudonym(patient) for patient in found.forgotten})
    pseudonyms = {patient: secret.pseudonym(patient) for patient in sorted(patients)}
    having = {pseudonym for entry in entries.values() for pseudonym in entry.pseudonyms}
    kept = tuple(patient for patient, pseudonym in pseudonyms.items() if pseudonym in having)
    inputs, present = inputs_of(study, entries, [pseudonyms[patient] for patient in kept])
    for entry in entries.values():
        counts.update(entry.counts)
    without = len({*kept} - patients_of(folder, study))
    counts.update({OPTED_OUT: len(found.patients), WITHOUT: without})
    counts["patients of whom nothing can be used"] += len(patients) - len(kept)
    told = {what: number for what, number in counts.items() if number}
    opt_outs = "" if folder.file.exclusions is None else found.said()
    return Everybody(folder.file.site, kept, inputs, present, without, told, opt_outs)


def _all_here(folder: SiteFolder, study: Study, sources: Mapping[str, Source], progress: Progress) -> frozenset[str]:
    """Return the numbers of all, also of who opted out: the list means them as they are written in these files."""
    reader = Reader(folder, study, sources, progress)
    reader.open()
    return frozenset[str]().union(*(kind.patients() for kind in reader.kinds.values()))


def _staying(
    here: frozenset[str], found: Found, study: Study, state: Path, secret: SiteSecret, counts: Counter[str]
) -> frozenset[str]:
    """Return whom no list leaves out; in a study with privacy none of before either."""
    patients = here - found.passed_over
    if not study.private:
        return patients
    out = left_out(state, secret)
    staying = frozenset(patient for patient in patients if secret.pseudonym(patient) not in out)
    counts["exclusions: patients whom an earlier list named, and this one does not"] += len(patients) - len(staying)
    return staying
