"""Prepare: a hospital's folder -> its cohort for a study. Read, join, de-identify, keep, make tensors; once."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from client.data.accepted import doubt_of, require_accepted
from client.data.cache import Cache
from client.data.cohort import OPTED_OUT, Cohort, cohort_of
from client.data.exclusions import Found, found_here
from client.data.labels import Label, read_labels, with_files
from client.data.left_out import keep_left_out
from client.data.pseudonym import SiteSecret, site_secret
from client.data.recipe import rules_of
from client.data.rows import Rows
from client.data.sides import staying
from client.data.site_files import Progress
from client.data.sources import sources_here, target_files
from client.data.targets import files_of
from client.site import SiteFolder
from common.errors import DataError, WardroundError
from common.study import Study


def prepare(
    folder: SiteFolder,
    study: Study,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    state: Path | None = None,
    at_work: bool = False,
) -> Cohort:
    """The site's cases for a study. What was prepared before, from the same files and for the same modality, is reused.

    `cache` is where prepared rows are kept, by default in the site's state folder; `progress(what, done, total)`;
    `state` is where the ledger is, and the sides that patients keep, by default the same folder.
    `at_work`: nobody is there to look at the list of opt-outs. In a study with differential privacy one that is not in
    order is then no error. There whom it finds is left out, and whom any list left out before (`client.data.left_out`).
    Raises SiteFileError, DataError, CohortError, DeidentificationError, or PrivacyError (`client/data/sides.py`); no
    value of a patient stands in their text.
    For a study with differential privacy none of them hangs on a single patient, and a cohort may be empty.
    """
    try:
        found = found_here(folder)
        folder = replace(folder, excluded=found.passed_over)
        cohort = _prepare(folder, study, cache, progress or silent, found, state, at_work=at_work)
        if folder.file.exclusions is None:
            return cohort
        doubt = doubt_here(folder.path(folder.file.state), found, private=at_work and study.private)
        return replace(cohort, opt_outs=found.said(), doubt=doubt)
    except WardroundError:
        raise
    except Exception as error:
        problem = unforeseen(error)
    raise DataError(f"{folder.root}: cannot be prepared: {problem}.")  # outside of `except`: it keeps no context


def doubt_here(state: Path, found: Found, *, private: bool) -> str:
    """Return why a person should look at the list of opt-outs. What a person accepted is looked up for an odd list
    alone, and a list may be odd by one patient: with privacy nothing may fail by it, so that is said, and no error.
    """
    try:
        return doubt_of(state, found)
    except DataError as problem:
        if not private:
            raise
        return str(problem)


def _prepare(
    folder: SiteFolder,
    study: Study,
    cache: Path | None,
    progress: Progress,
    found: Found,
    sides: Path | None,
    *,
    at_work: bool,
) -> Cohort:
    state, counts = folder.path(folder.file.state), Counter[str]()
    secret, store = site_secret(state), Cache(cache or state / "cache")
    try:
        if not (at_work and study.private):
            require_accepted(state, found)
        sources = sources_here(folder, study)
        read, unplaced = read_labels(folder, study, counts)
        labels: Mapping[str, Label] = read
        known = frozenset(labels) | (found.everybody | found.lines if study.private else found.passed_over)
        if folder.file.exclusions is not None:
            labels = _without_opted_out(labels, state, secret, found, counts, private=study.private)
        labels = staying(labels, sides or state, study, secret, counts)
        sources |= target_files(folder, study)
        entries = Rows(folder, study, sources, labels.keys(), known, secret, progress).entries(store)
    finally:  # also when there is too little left to take part with, and from what other studies prepared
        store.forget({secret.pseudonym(patient) for patient in found.forgotten})
    counts[OPTED_OUT] += len(found.patients)
    for entry in entries.values():
        counts.update(entry.counts)
    drawn = {name: entries.pop(name) for name in files_of(study) if name in entries}
    told = with_files(labels, study, drawn, secret, counts)
    cohort = cohort_of(folder.file.site, study, told, entries, secret, counts)
    out = cohort.out | {secret.pseudonym(patient) for patient in unplaced | (labels.keys() - told.keys())}
    return replace(cohort, out=out, rules=rules_of(folder.file, study, cohort.owned))


def _without_opted_out(
    labels: Mapping[str, Label], state: Path, secret: SiteSecret, found: Found, counts: Counter[str], *, private: bool
) -> Mapping[str, Label]:
    """Keep whom the list leaves out (their rows are not read at all), and leave out whom earlier ones did, with
    privacy. Without it the list as it is decides, and what is kept and cannot be read waits for a person. Nobody stays
    who was not sought in the list: whoever came into the target's file after that waits for the next round.
    """
    late = labels.keys() - found.sought
    counts["exclusions: patients who came into the target's file while it was read"] += len(late)
    labels = {patient: label for patient, label in labels.items() if patient not in late}
    try:
        out = keep_left_out(state, secret, found.patients)
    except DataError:
        if private:
            raise
        return labels
    if not private:
        return labels
    staying = {patient: label for patient, label in labels.items() if secret.pseudonym(patient) not in out}
    counts["exclusions: patients whom an earlier list named, and this one does not"] += len(labels) - len(staying)
    return staying


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def unforeseen(error: Exception) -> str:
    """The last fence: of what nobody foresaw, where it happened is said, and not what it read."""
    if isinstance(error, OSError):
        words = os.strerror(error.errno) if error.errno else type(error).__name__
        return f"{words}. Check the disk, and the permissions of this folder and of `state` in site.yaml"
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} in {where}. This is a fault of wardround: report these words, they hold no data"
