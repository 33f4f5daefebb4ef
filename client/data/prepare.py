"""Prepare: a hospital's folder -> its cohort for a study. Read, join, de-identify, keep, make tensors; once."""

from __future__ import annotations

import os
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from client.data.accepted import doubt_of, require_accepted
from client.data.cache import Cache, Entry, EntryName, Writer
from client.data.case import DeidentifiedCase
from client.data.cohort import OPTED_OUT, Cohort, cohort_of
from client.data.deidentify import GATE_VERSION, deidentify
from client.data.exclusions import Found, found_here
from client.data.kinds import KINDS
from client.data.kinds.kind import DataKind, Row
from client.data.labels import Label, read_labels
from client.data.left_out import keep_left_out
from client.data.pseudonym import SiteSecret, site_secret
from client.data.recipe import rules_of
from client.data.sides import staying
from client.data.site_files import Progress
from client.data.sources import Reader, Source, fingerprint, sources_here
from client.site import SiteFolder
from common import schema as border
from common.errors import DataError, DeidentificationError, WardroundError
from common.study import Study

# A new number makes every site prepare its data again: raise it when the same files would give other rows.
PIPELINE_VERSION = 2


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
        cohort = _prepare(folder, study, cache, progress or _silent, found, state, at_work=at_work)
        if folder.file.exclusions is None:
            return cohort
        doubt = _doubt(folder.path(folder.file.state), found, private=at_work and study.private)
        return replace(cohort, opt_outs=found.said(), doubt=doubt)
    except WardroundError:
        raise
    except Exception as error:
        problem = _unforeseen(error)
    raise DataError(f"{folder.root}: cannot be prepared: {problem}.")  # outside of `except`: it keeps no context


def _doubt(state: Path, found: Found, *, private: bool) -> str:
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
        entries = _Work(folder, study, sources, labels, known, secret, progress).entries(store)
    finally:  # also when there is too little left to take part with, and from what other studies prepared
        store.forget({secret.pseudonym(patient) for patient in found.forgotten})
    counts[OPTED_OUT] += len(found.patients)
    for entry in entries.values():
        counts.update(entry.counts)
    cohort = cohort_of(folder.file.site, study, labels, entries, secret, counts)
    out = cohort.out | {secret.pseudonym(patient) for patient in unplaced}
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


@dataclass(frozen=True, repr=False)
class _Work:
    """What is prepared, for whom; `known`: whoever stands in the target's file, also those who are left out."""

    folder: SiteFolder
    study: Study
    sources: Mapping[str, Source]
    labels: Mapping[str, Label]
    known: frozenset[str]
    secret: SiteSecret
    progress: Progress

    def entries(self, cache: Cache) -> dict[str, Entry]:
        """Prepared rows of every modality of this site, from the cache where it has them."""
        names = {name: self._entry_name(name) for name in self.sources}
        with cache.locked():
            ready = {name: cache.load(names[name]) for name in names}
            missing = {name: names[name] for name, entry in ready.items() if entry is None}
            if missing:
                self._fill(cache, missing)
                ready |= {name: cache.load(entry) for name, entry in missing.items()}
        return {name: entry for name, entry in ready.items() if entry is not None}

    def _entry_name(self, name: str) -> EntryName:
        modality, source = self.study.modalities[name], self.sources[name]
        files = KINDS[modality.kind].files_of_tool(modality, self._models)
        recipe = [PIPELINE_VERSION, GATE_VERSION, modality.recipe, files]
        recipe += ["gaps"] if self.study.private else []  # what is an error in another study is a gap in these rows
        data = [
            border.plain(source),
            border.plain(self.folder.file.identity),
            self.folder.file.patient,
            fingerprint(self.folder, self.study, name, source).hex(),
            sorted(self.labels),
            sorted(self.known),  # whose rows end a table's reading, where a quote beside them is open
        ]
        return EntryName(name, self._digest(recipe), self._digest([recipe, data]))

    def _digest(self, content: object) -> str:
        return self.secret.digest("cache", repr(content).encode())

    @property
    def _models(self) -> Path:
        return self.folder.path(self.folder.file.models)

    def _fill(self, cache: Cache, missing: Mapping[str, EntryName]) -> None:
        """Prepare these modalities, patient by patient. Entries appear at the end; an error leaves none behind."""
        sources = {name: self.sources[name] for name in missing}
        reader = Reader(self.folder, self.study, sources, self.progress, self.known)
        tools = {name: self._kind(name).tool(self.study.modalities[name], self._models) for name in missing}
        earlier = {name: _by_stamp(cache.earlier(entry)) for name, entry in missing.items()}
        reader.open()
        with ExitStack() as stack:
            layouts = {name: self.study.modalities[name].layout for name in missing}
            writers = {
                name: stack.enter_context(cache.writer(entry, layouts[name].shape, layouts[name].stored))
                for name, entry in missing.items()
            }
            patients = sorted(self.labels, key=self.secret.pseudonym)
            for number, patient in enumerate(patients):
                self._add(patient, reader, tools, earlier, writers)
                self.progress("preparing cases", number + 1, len(patients))
            for name, writer in writers.items():
                if not self.study.private:
                    reader.kinds[name].require(self.labels, len(writer.pseudonyms))
                writer.counts.update(reader.kinds[name].counts(self.labels, len(writer.pseudonyms)))

    def _add(
        self,
        patient: str,
        reader: Reader,
        tools: Mapping[str, Any],
        earlier: Mapping[str, Mapping[tuple[str, str], Row]],
        writers: Mapping[str, Writer],
    ) -> None:
        pseudonym = self.secret.pseudonym(patient)
        stamps = {name: self._stamp(reader, name, patient) for name in writers}
        again = []
        for name, writer in writers.items():
            known = earlier[name].get((pseudonym, stamps[name]))
            if known is None:
                again.append(name)
            else:
                writer.add(pseudonym, stamps[name], known)
        for name, row, counts in self._rows(patient, reader, again, tools):
            if row is not None:
                writers[name].add(pseudonym, stamps[name], row)
            writers[name].counts.update(counts)

    def _rows(
        self, patient: str, reader: Reader, names: list[str], tools: Mapping[str, Any]
    ) -> Iterator[tuple[str, Row | None, dict[str, int]]]:
        """Each modality's row of a patient, None where there is none, and what the gate counted.

        In a study with differential privacy what one patient's data raises is that patient's gap, and is counted: a
        refusal would tell the coordinator that somebody is here of whom it raises.
        """
        if not self.study.private:
            case = deidentify(reader.case(patient, names), self.study, self.secret)
            yield from (self._row(case, name, tools) for name in names)
            return
        for name in names:
            try:
                case = deidentify(reader.case(patient, [name]), self.study, self.secret)
                yield self._row(case, name, tools)
            except DeidentificationError:
                yield name, None, {f"{self._place(name)}: patients of whom the gate would have let something pass": 1}
            except Exception as problem:
                yield name, None, {f"{self._place(name)}: patients that failed with {type(problem).__name__}": 1}

    def _row(
        self, case: DeidentifiedCase, name: str, tools: Mapping[str, Any]
    ) -> tuple[str, Row | None, dict[str, int]]:
        modality = self.study.modalities[name]
        row = self._kind(name).row(case.parts[name], modality, tools[name]) if name in case.parts else None
        own = {what: number for what, number in case.counts.items() if what.split(":")[0].endswith(f".{name}")}
        return name, row, own

    def _place(self, name: str) -> str:
        return f"{self._kind(name).section}.{name}"

    def _kind(self, name: str) -> type[DataKind[Any, Any, Any, Any]]:
        return KINDS[self.study.modalities[name].kind]

    def _stamp(self, reader: Reader, name: str, patient: str) -> str:
        stamp = reader.kinds[name].stamp(patient)
        return self.secret.digest("stamp", stamp.encode("utf-8", "surrogateescape")) if stamp else ""


def _by_stamp(entry: Entry | None) -> dict[tuple[str, str], Row]:
    """Rows that need no second decoding, by patient and by the stamp of the files that they came from."""
    if entry is None:
        return {}
    places = enumerate(zip(entry.pseudonyms, entry.stamps, strict=True))
    return {key: entry.rows[place] for place, key in places if key[1]}


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def _unforeseen(error: Exception) -> str:
    """The last fence: of what nobody foresaw, where it happened is said, and not what it read."""
    if isinstance(error, OSError):
        words = os.strerror(error.errno) if error.errno else type(error).__name__
        return f"{words}. Check the disk, and the permissions of this folder and of `state` in site.yaml"
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} in {where}. This is a fault of wardround: report these words, they hold no data"
