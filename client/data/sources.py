"""Sources: where this site keeps each modality of a study, what identifies that data, and its values by patient."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from client.data.case import RawCase
from client.data.identifiers import identifiers
from client.data.kinds import KINDS
from client.data.kinds.kind import DataKind
from client.data.site_files import Progress, SiteFiles
from client.data.targets import files_of, kind_of, sources_of
from client.site import ImageSource, NoteSource, SiteFolder, TableSource
from client.terms import allowed
from common.errors import CohortError, DeidentificationError
from common.study import Study

Source = ImageSource | TableSource | NoteSource


def sources_here(folder: SiteFolder, study: Study) -> dict[str, Source]:
    """The study's modalities that site.yaml names and policy allows, in the study's order, each of the study's kind."""
    sections: dict[str, Mapping[str, Source]] = {
        kind.section: getattr(folder.file, kind.section) for kind in KINDS.values()
    }
    found: dict[str, Source] = {}
    for name in allowed(folder.file, study):
        modality = study.modalities[name]
        places = [section for section, named in sections.items() if name in named]
        wanted = KINDS[modality.kind].section
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


def target_files(folder: SiteFolder, study: Study) -> dict[str, Source]:
    """Return where this site has the parts of the target that are files of each patient, by the names of `files_of`."""
    here = sources_of(folder.file, study)
    found = {name: here[part.name] for name, part in files_of(study).items() if part.name in here}
    return {name: source for name, source in found.items() if isinstance(source, ImageSource)}


def _refuse_identity_columns(folder: SiteFolder, study: Study, found: Mapping[str, Source]) -> None:
    """A column that says who the patient is cannot be one that the study learns from."""
    who = {(folder.path(one.file), column) for one in folder.file.identity for column in one.columns}
    for name, source in found.items():
        modality = study.modalities[name]
        kind = KINDS[modality.kind]
        if columns := kind.columns(source, modality):
            assert isinstance(source, TableSource)
            patient = source.patient or folder.file.patient
            taken = [
                column
                for column in columns
                if source.columns.get(column, column) == patient
                or (folder.path(source.file), source.columns.get(column, column)) in who
            ]
            if taken:
                raise DeidentificationError(
                    f"site.yaml of {folder.root}: {kind.section}.{name}: the study's {', '.join(taken)} would be read "
                    "from a column that identifies patients. Correct `columns` or `identity`."
                )


def fingerprint(folder: SiteFolder, study: Study, name: str, source: Source) -> bytes:
    """SHA-256 that changes with the data of one modality: of tables the content, of images names, sizes and times,
    and how many cannot be read.
    """
    return kind_of(study, name)[0].fingerprint(folder, name, source)


class Reader:
    """Reads the sources of some modalities, each once and only when asked, and joins them by patient.

    known: the patients of the target's file
    """

    def __init__(
        self,
        folder: SiteFolder,
        study: Study,
        sources: Mapping[str, Source],
        progress: Progress,
        known: frozenset[str] = frozenset(),
    ) -> None:
        self._files = SiteFiles(folder, progress, known, private=study.private)
        self.kinds: dict[str, DataKind[Any, Any, Any, Any]] = {}
        for name, source in sources.items():
            kind, modality = kind_of(study, name)
            self.kinds[name] = kind(name, source, modality, self._files)

    def open(self) -> None:
        """Read all tables and headers, kind by kind: what is wrong with a file shows here, what is wrong with a patient
        in `case`.
        """
        for every in KINDS.values():
            for kind in self.kinds.values():
                if isinstance(kind, every):
                    kind.open()
        if self._scrubs:
            _ = self._files.identifiers

    @property
    def _scrubs(self) -> bool:
        return any(kind.scrubs for kind in self.kinds.values())

    def case(self, patient: str, names: Collection[str]) -> RawCase:
        """All that is known of a patient in these modalities, and who it is."""
        known = self._files.identifiers.get(patient, set()) if self._scrubs else set()
        parts = {name: self.kinds[name].read(patient) for name in names}
        return RawCase(
            patient,
            frozenset(known | set(identifiers(patient, "ID"))),
            {name: part for name, part in parts.items() if part is not None},
        )
