"""Rows: what of each patient a study sees of each modality, and of a target in files: read, de-identified and kept."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.data.cache import Cache, Entry, EntryName, Writer
from client.data.case import DeidentifiedCase
from client.data.deidentify import GATE_VERSION, deidentify
from client.data.kinds.kind import Row
from client.data.pseudonym import SiteSecret
from client.data.site_files import Progress
from client.data.sources import Reader, Source, fingerprint
from client.data.targets import kind_of
from client.site import SiteFolder
from common import schema as border
from common.errors import DeidentificationError
from common.study import Study

# A new number makes every site prepare its data again: raise it when the same files would give other rows.
PIPELINE_VERSION = 2


@dataclass(frozen=True, repr=False)
class Rows:
    """What is prepared, for whom.

    known: whoever stands in the target's file, also those who are left out
    everybody: for a use that asks nobody for a target: these rows are kept beside those for training, which stay
    """

    folder: SiteFolder
    study: Study
    sources: Mapping[str, Source]
    patients: Collection[str]
    known: frozenset[str]
    secret: SiteSecret
    progress: Progress
    everybody: bool = False

    def entries(self, cache: Cache) -> dict[str, Entry]:
        """Prepared rows of every modality, and target in files, of this site; from the cache where it has them."""
        names = {name: self._entry_name(name) for name in self.sources}
        with cache.locked():
            ready = {name: cache.load(names[name]) for name in names}
            missing = {name: names[name] for name, entry in ready.items() if entry is None}
            if missing:
                self._fill(cache, missing)
                ready |= {name: cache.load(entry) for name, entry in missing.items()}
        return {name: entry for name, entry in ready.items() if entry is not None}

    def _entry_name(self, name: str) -> EntryName:
        source, recipe = self.sources[name], self._recipe(name)
        recipe += ["everybody"] if self.everybody else []
        data = [
            border.plain(source),
            border.plain(self.folder.file.identity),
            self.folder.file.patient,
            fingerprint(self.folder, self.study, name, source).hex(),
            sorted(self.patients),
            sorted(self.known),  # whose rows end a table's reading, where a quote beside them is open
        ]
        return EntryName(name, self._digest(recipe), self._digest([recipe, data]))

    def _recipe(self, name: str) -> list[object]:
        """Return what decides the rows of a modality, but for the data."""
        kind, modality = kind_of(self.study, name)
        files = kind.files_of_tool(modality, self._models)
        recipe: list[object] = [PIPELINE_VERSION, GATE_VERSION, kind.recipe(modality), files]
        return recipe + (["gaps"] if self.study.private else [])  # what is an error in another study is a gap here

    def _earlier(self, cache: Cache, entry: EntryName) -> dict[tuple[str, str], Row]:
        """Return what need not be decoded again; for everybody also of what was prepared for training."""
        own = _by_stamp(cache.earlier(entry))
        if not self.everybody:
            return own
        training = EntryName(entry.modality, self._digest(self._recipe(entry.modality)), "")
        return _by_stamp(cache.earlier(training)) | own

    def _digest(self, content: object) -> str:
        return self.secret.digest("cache", repr(content).encode())

    @property
    def _models(self) -> Path:
        return self.folder.path(self.folder.file.models)

    def _fill(self, cache: Cache, missing: Mapping[str, EntryName]) -> None:
        """Prepare these modalities, patient by patient. Entries appear at the end; an error leaves none behind."""
        sources = {name: self.sources[name] for name in missing}
        reader = Reader(self.folder, self.study, sources, self.progress, self.known)
        kinds = {name: kind_of(self.study, name) for name in missing}
        tools = {name: kind.tool(modality, self._models) for name, (kind, modality) in kinds.items()}
        earlier = {name: self._earlier(cache, entry) for name, entry in missing.items()}
        reader.open()
        with ExitStack() as stack:
            layouts = {name: kind.layout(modality) for name, (kind, modality) in kinds.items()}
            writers = {
                name: stack.enter_context(cache.writer(entry, layouts[name].shape, layouts[name].stored))
                for name, entry in missing.items()
            }
            patients = sorted(self.patients, key=self.secret.pseudonym)
            for number, patient in enumerate(patients):
                self._add(patient, reader, tools, earlier, writers)
                self.progress("preparing cases", number + 1, len(patients))
            for name, writer in writers.items():
                if not self.study.private and not self.everybody:
                    reader.kinds[name].require(self.patients, len(writer.pseudonyms))
                writer.counts.update(reader.kinds[name].counts(self.patients, len(writer.pseudonyms)))

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
        kind, modality = kind_of(self.study, name)
        row = kind.row(case.parts[name], modality, tools[name]) if name in case.parts else None
        own = {what: number for what, number in case.counts.items() if what.split(":")[0].endswith(f".{name}")}
        return name, row, own

    def _place(self, name: str) -> str:
        return f"{kind_of(self.study, name)[0].section}.{name}"

    def _stamp(self, reader: Reader, name: str, patient: str) -> str:
        stamp = reader.kinds[name].stamp(patient)
        return self.secret.digest("stamp", stamp.encode("utf-8", "surrogateescape")) if stamp else ""


def _by_stamp(entry: Entry | None) -> dict[tuple[str, str], Row]:
    """Rows that need no second decoding, by patient and by the stamp of the files that they came from."""
    if entry is None:
        return {}
    places = enumerate(zip(entry.pseudonyms, entry.stamps, strict=True))
    return {key: entry.rows[place] for place, key in places if key[1]}
