"""Sources: where this site keeps each modality of a study, what identifies that data, and its values by patient."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from client.data.case import Gaps, Identifier, RawCase, RawImage, RecordValues
from client.data.dicom import DicomFolder, find, listing, lost, no_image, stack
from client.data.identifiers import identifiers, of_cell
from client.data.notes import LONGEST, LONGEST_IDENTIFIER, MOST_IDENTIFIERS, read_notes
from client.data.pixels import read_image
from client.data.records import read_records
from client.data.sequences import read_sequences
from client.data.swallowed import Numbers
from client.data.tables import Table, read_table
from client.site import ImageSource, NoteSource, SiteFolder, TableSource
from client.terms import allowed
from common.errors import CohortError, DataError, DeidentificationError, SiteFileError
from common.modalities.image import ImageModality
from common.modalities.record import RecordModality
from common.modalities.sequence import SequenceModality
from common.study import Study

Source = ImageSource | TableSource | NoteSource
Progress = Callable[[str, int, int], None]
S = TypeVar("S")

_SECTIONS = {"image": "images", "record": "records", "note": "notes", "sequence": "sequences"}


def sources_here(folder: SiteFolder, study: Study) -> dict[str, Source]:
    """The study's modalities that site.yaml names and policy allows, in the study's order, each of the study's kind."""
    sections: dict[str, Mapping[str, Source]] = {
        section: getattr(folder.file, section) for section in _SECTIONS.values()
    }
    found: dict[str, Source] = {}
    for name in allowed(folder.file, study):
        modality = study.modalities[name]
        places = [section for section, named in sections.items() if name in named]
        wanted = _SECTIONS[modality.kind]
        if places and places != [wanted]:
            raise CohortError(
                f"site.yaml of {folder.root}: {name!r} stands under {' and '.join(places)}, but in the study it is "
                f"of kind {modality.kind}. Put it under {wanted}, and only there."
            )
        if places:
            found[name] = sections[wanted][name]
    if not found:
        raise CohortError(
            f"site.yaml of {folder.root}: names none of the study's modalities ({', '.join(study.names)}); it names "
            f"{', '.join(sorted(folder.file.modalities)) or 'none at all'}. Add the keys for what this site has, or "
            "do not take part."
        )
    _refuse_identity_columns(folder, study, found)
    return found


def _refuse_identity_columns(folder: SiteFolder, study: Study, found: Mapping[str, Source]) -> None:
    """A column that says who the patient is cannot be one that the study learns from."""
    who = {(folder.path(one.file), column) for one in folder.file.identity for column in one.columns}
    for name, source in found.items():
        modality = study.modalities[name]
        if isinstance(source, TableSource) and isinstance(modality, RecordModality | SequenceModality):
            columns = modality.columns if isinstance(modality, RecordModality) else modality.genes
            patient = source.patient or folder.file.patient
            taken = [
                column
                for column in columns
                if source.columns.get(column, column) == patient
                or (folder.path(source.file), source.columns.get(column, column)) in who
            ]
            if taken:
                raise DeidentificationError(
                    f"site.yaml of {folder.root}: {_SECTIONS[modality.kind]}.{name}: the study's {', '.join(taken)} "
                    "would be read from a column that identifies patients. Correct `columns` or `identity`."
                )


def fingerprint(folder: SiteFolder, name: str, source: Source) -> bytes:
    """SHA-256 that changes with the data of one modality: of tables the content, of images names, sizes and times,
    and how many cannot be read.
    """
    if isinstance(source, ImageSource):
        files, below = listing(folder.path(source.folder), f"images.{name}")
        return hashlib.sha256(repr((files, sorted(below.items()))).encode()).digest()
    paths = [source.file]
    state = hashlib.sha256()
    if isinstance(source, NoteSource):  # what is scrubbed from notes depends on all that says who patients are
        paths += [one.file for one in folder.file.identity]
        for other, image in sorted(folder.file.images.items()):
            state.update(fingerprint(folder, other, image))
    for path in paths:
        state.update(_content(folder.path(path), name))
    return state.digest()


def _content(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as problem:
        raise SiteFileError(
            f"{path}: cannot be read ({problem.strerror}). Check what site.yaml says of {name} and of identity."
        ) from None


@dataclass(repr=False)
class Reader:
    """Reads the sources of some modalities, each once and only when asked, and joins them by patient."""

    folder: SiteFolder
    study: Study
    sources: Mapping[str, Source]
    progress: Progress
    known: frozenset[str] = field(default=frozenset(), repr=False)  # the patients of the target's file
    skipped: dict[str, Counter[str]] = field(default_factory=dict)
    _tables: dict[str, Table] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.skipped = {name: Counter() for name in self.sources}

    def open(self) -> None:
        """Read all tables and headers: what is wrong with a file shows here, what is wrong with a patient in `case`."""
        _ = self.images, self.records, self.sequences, self.notes, self.identifiers

    def case(self, patient: str, names: list[str]) -> RawCase:
        """All that is known of a patient in these modalities, and who it is."""
        images = {name: self._image(name, patient) for name in names if name in self.images}
        return RawCase(
            patient=patient,
            identifiers=frozenset(self.identifiers.get(patient, set()) | set(identifiers(patient, "ID"))),
            images={name: image for name, image in images.items() if image is not None},
            records=_of(patient, names, self.records),
            notes=_of(patient, names, self.notes),
            sequences=_of(patient, names, self.sequences),
        )

    def stamp(self, name: str, patient: str) -> str:
        """What the patient's images are made of: names, sizes and times of its files. Empty for other modalities."""
        if name not in self.images:
            return ""
        return "\n".join(file.stamp for file in stack(self.images[name].patients.get(patient, [])))

    def patients(self, name: str) -> set[str]:
        """Who has this modality, usable or not."""
        for kind in (self.records, self.notes, self.sequences):
            if name in kind:
                return set(kind[name])
        return set(self.images[name].patients)

    def counts(self, name: str, wanted: Collection[str], having: int) -> dict[str, int]:
        """What was left out of this modality, by reason, in the words of `client.data.losses`.

        wanted: the patients with a target. having: those among them whose data could be used.
        """
        key = self._key(name)
        told = Counter(self._files(name, key) if name in self.images else self._tables[name].counted(key))
        there = self.patients(name) & set(wanted)
        told[f"{key}: patients"] = max(told[f"{key}: patients"], len(there))
        if name in self.images:
            told[f"{key}: patients without an image that can be used"] = len(there) - having
        told[f"{key}: patients"] += (near := _but_for_zeros(set(wanted) - there, self.patients(name) - there))
        told[f"{key}: patients whose number matches the target's file but for leading zeros"] = near
        return {what: number for what, number in told.items() if number}

    def _files(self, name: str, key: str) -> Counter[str]:
        """All images, and those that are lost; files that are no images."""
        images = self.images[name]
        told = Counter({f"{key}: images {reason}": number for reason, number in self.skipped[name].items()})
        told[f"{key}: images"] = sum(map(len, images.patients.values()))
        if images.closed:
            told.update({f"{key}: {what}": number for what, number in images.below.items()})
        for reason, number in images.skipped.items():
            told[f"{key}: {'images' if lost(reason) else 'files'} {reason}"] += number
            told[f"{key}: images"] += number if lost(reason) else 0
        return told

    def _key(self, name: str) -> str:
        return f"{_SECTIONS[self.study.modalities[name].kind]}.{name}"

    def require(self, name: str, wanted: set[str], rows: int) -> None:
        """A modality that site.yaml names and that gives no case is a mistake to be told, not a modality to miss."""
        if rows:
            return
        key, there = self._key(name), self.patients(name)
        if not there & wanted:
            near = _but_for_zeros(wanted, there)
            zeros = (
                f" {near} of them would match but for leading zeros, which a spreadsheet takes away." if near else ""
            )
            raise CohortError(
                f"site.yaml of {self.folder.root}: {key} has {len(there)} patients, and none of them is among the "
                f"{len(wanted)} with a target.{zeros} Check that both name patients alike (keys patient, "
                f"target.patient, {key}.{'patient_tag' if name in self.images else 'patient'}); or remove {key}."
            )
        if name in self.images and self.skipped[name]:
            images = self.images[name]
            raise DataError(no_image(images.folder, images.seen, images.skipped + self.skipped[name], key))
        if name in self.images:
            raise DeidentificationError(
                f"site.yaml of {self.folder.root}: {key}: every image says that text is burned into it. Have it "
                "removed and BurnedInAnnotation set to NO; or remove the key."
            )
        if name in self.notes:
            raise DeidentificationError(
                f"site.yaml of {self.folder.root}: {key}: in every note an identifier of its own patient still stood "
                "after scrubbing, so all were left out. Remove the key and report this fault."
            )
        raise CohortError(
            f"site.yaml of {self.folder.root}: {key} has gaps only. Check its columns, or remove the key."
        )

    @cached_property
    def images(self) -> dict[str, DicomFolder]:
        return {name: self._find(name, source) for name, source in self._of(ImageSource).items()}

    @cached_property
    def records(self) -> dict[str, dict[str, RecordValues]]:
        return {
            name: read_records(
                self._table(name, f"records.{name}", source),
                source,
                modality,
                source.patient or self.folder.file.patient,
                f"records.{name}",
            )
            for name, source in self._of(TableSource).items()
            if isinstance(modality := self.study.modalities[name], RecordModality)
        }

    @cached_property
    def sequences(self) -> dict[str, dict[str, Gaps]]:
        return {
            name: read_sequences(
                self._table(name, f"sequences.{name}", source),
                source,
                modality,
                source.patient or self.folder.file.patient,
                f"sequences.{name}",
            )
            for name, source in self._of(TableSource).items()
            if isinstance(modality := self.study.modalities[name], SequenceModality)
        }

    @cached_property
    def notes(self) -> dict[str, dict[str, str]]:
        return {name: self._notes(name, source) for name, source in self._of(NoteSource).items()}

    def _notes(self, name: str, source: NoteSource) -> dict[str, str]:
        """Return the notes by patient. In a private study those of patients alone whom a file names (`_is_named`), for
        nobody else is sought in a note, whatever can be read of others.
        """
        table = self._table(name, f"notes.{name}", source)
        every = read_notes(table, source, source.patient or self.folder.file.patient, f"notes.{name}")
        found = {patient: note for patient, note in every.items() if self._is_short(patient, note, table)}
        table.counts["patients"] += len(every) - len(found) if table.gaps else len(every) * (len(found) < len(every))
        if not table.gaps:
            return self._with_headers(found, table)
        reason = (
            "whom `identity` does not have, or does not name" if self._who else "of whom no header of an image was read"
        )
        named = {patient: note for patient, note in found.items() if self._is_named(patient)}
        table.counts["patients"] += len(found)
        table.counts[f"patients {reason}"] += len(found) - len(named)
        return named

    def _is_short(self, patient: str, note: str, table: Table) -> bool:
        """Whether the gate looks through a note in a bounded time; what is longer is counted, and not cut."""
        sizes = [len(one.text) for one in self.identifiers.get(patient, ())]
        table.counts[f"patients with notes of more than {LONGEST:,} signs"] += len(note) > LONGEST
        known = max(sizes, default=0) <= LONGEST_IDENTIFIER and sum(sizes) <= MOST_IDENTIFIERS
        table.counts["patients with names or numbers in `identity` or headers that are too long"] += not known
        return known and len(note) <= LONGEST

    def _is_named(self, patient: str) -> bool:
        """Whether each file of `identity` has the patient, and one of them a name; where no file is named, whether
        a header of an image does. Nobody is, and all have notes, where site.yaml names neither.
        """
        if self._who:
            known = self._of_identity.get(patient, ())
            has_name = any(one.kind == "NAME" and any(map(str.isalpha, one.text)) for one in known)
            return has_name and all(patient in rows for _, rows in self._who)
        return not self._headers or any(patient in images.identifiers for images in self._headers.values())

    def _with_headers(self, notes: dict[str, str], table: Table) -> dict[str, str]:
        """Return the notes without those of patients of whom no header was read in a folder of images that cannot be
        read whole: it may have said who they are. Without privacy only, for one patient's folder decides about others.
        """
        torn = [images for images in self._headers.values() if images.closed]
        if not torn:
            return notes
        kept = {patient: note for patient, note in notes.items() if all(patient in one.identifiers for one in torn)}
        table.counts["patients"] += len(notes) - len(kept)
        table.counts["patients of whom no header was read, where images cannot be"] += len(notes) - len(kept)
        return kept

    @cached_property
    def _headers(self) -> dict[str, DicomFolder]:
        """Every folder of images that this site has, whatever the study takes of them."""
        return {
            name: self.images[name] if name in self.images else self._find(name, source)
            for name, source in self.folder.file.images.items()
        }

    @cached_property
    def _who(self) -> list[tuple[Table, dict[str, list[int]]]]:
        """The files of `identity`, each with its rows by patient."""
        found = []
        for place, one in enumerate(self.folder.file.identity):
            table = self._read(one.file, f"identity.{place}.file", one.patient)
            found.append(
                (table, table.by_patient(one.patient or self.folder.file.patient, f"identity.{place}.patient"))
            )
        return found

    def _table(self, name: str, key: str, source: TableSource | NoteSource) -> Table:
        self._tables[name] = self._read(source.file, f"{key}.file", source.patient)
        return self._tables[name]

    def _read(self, file: Path, key: str, patient: str | None) -> Table:
        numbers = Numbers(patient or self.folder.file.patient, self.known)
        path, excluded = self.folder.path(file), self.folder.excluded
        return read_table(path, key, excluded, gaps=self.study.private, numbers=numbers)

    @cached_property
    def identifiers(self) -> dict[str, set[Identifier]]:
        """Patient -> what notes must not hold: from identity columns, and from the headers of all images here."""
        if not self._of(NoteSource):
            return {}
        found = {patient: set(known) for patient, known in self._of_identity.items()}
        for images in self._headers.values():
            for patient, known in images.identifiers.items():
                found.setdefault(patient, set()).update(known)
        return found

    @cached_property
    def _of_identity(self) -> dict[str, set[Identifier]]:
        """Patient -> what the columns of `identity` hold."""
        found: dict[str, set[Identifier]] = {}
        for place, (one, (table, rows)) in enumerate(zip(self.folder.file.identity, self._who, strict=True)):
            for column in one.columns:
                cells = table.column(column, f"identity.{place}.columns")
                for patient, numbers in rows.items():
                    found.setdefault(patient, set()).update(*(of_cell(cells[row]) for row in numbers if cells[row]))
        return found

    def _of(self, kind: type[S]) -> dict[str, S]:
        return {name: source for name, source in self.sources.items() if isinstance(source, kind)}

    def _find(self, name: str, source: ImageSource) -> DicomFolder:
        def report(done: int, total: int) -> None:
            self.progress(f"{name}: reading headers", done, total)

        folder, gaps = self.folder.path(source.folder), self.study.private
        return find(folder, source.patient_tag, f"images.{name}", report, gaps=gaps)

    def _image(self, name: str, patient: str) -> RawImage | None:
        modality, files = self.study.modalities[name], self.images[name].patients.get(patient)
        if files is None or not isinstance(modality, ImageModality):
            return None
        return read_image(stack(files), modality, self.skipped[name])


def _of(patient: str, names: Collection[str], kind: Mapping[str, Mapping[str, S]]) -> dict[str, S]:
    """Modality -> this patient's value, for those of these modalities that it has."""
    return {name: values[patient] for name, values in kind.items() if name in names and patient in values}


def _but_for_zeros(some: Collection[str], others: Collection[str]) -> int:
    """How many of some patients' numbers are among the others' once both have lost their leading zeros."""
    short = {patient.lstrip("0") for patient in others}
    return sum(patient.lstrip("0") in short for patient in some)
