"""Site files: a site's tables, folders of images and files of `identity`, for all kinds of data, read when asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from client.data.case import Identifier
from client.data.dicom import DicomFolder, find
from client.data.identifiers import of_cell
from client.data.swallowed import Numbers
from client.data.tables import Table, read_table
from client.site import ImageSource, SiteFolder

Progress = Callable[[str, int, int], None]


class SiteFiles:
    """What one site reads for one study.

    private: whether the study has differential privacy: what would be an error is a gap then
    known: the patients of the target's file
    """

    def __init__(self, folder: SiteFolder, progress: Progress, known: frozenset[str], *, private: bool) -> None:
        self.folder, self.private = folder, private
        self._progress, self._known = progress, known
        self._dicom = dict[str, DicomFolder]()

    def table(self, file: Path, key: str, patient: str | None) -> Table:
        """Read a table. `key`: its place in site.yaml; `patient`: its own name for the column of patients."""
        numbers = Numbers(self.patient(patient), self._known)
        path, excluded = self.folder.path(file), self.folder.excluded
        return read_table(path, key, excluded, gaps=self.private, numbers=numbers)

    def patient(self, own: str | None) -> str:
        """Return the name of the column of patients in a file that may have its own name for it."""
        return own or self.folder.file.patient

    def dicom(self, source: ImageSource, key: str) -> DicomFolder:
        """Return a folder of images, whose headers are read once. `key`: its place in site.yaml."""
        if key not in self._dicom:

            def report(done: int, total: int) -> None:
                self._progress(f"{key.rpartition('.')[2]}: reading headers", done, total)

            folder = self.folder.path(source.folder)
            self._dicom[key] = find(folder, source.patient_tag, key, report, gaps=self.private)
        return self._dicom[key]

    @cached_property
    def headers(self) -> dict[str, DicomFolder]:
        """Every folder of images that this site has, whatever the study takes of them."""
        return {name: self.dicom(source, f"images.{name}") for name, source in self.folder.file.images.items()}

    @cached_property
    def who(self) -> list[tuple[Table, dict[str, list[int]]]]:
        """The files of `identity`, each with its rows by patient."""
        found = []
        for place, one in enumerate(self.folder.file.identity):
            table = self.table(one.file, f"identity.{place}.file", one.patient)
            found.append((table, table.by_patient(self.patient(one.patient), f"identity.{place}.patient")))
        return found

    @cached_property
    def of_identity(self) -> dict[str, set[Identifier]]:
        """Patient -> what the columns of `identity` hold."""
        found: dict[str, set[Identifier]] = {}
        for place, (one, (table, rows)) in enumerate(zip(self.folder.file.identity, self.who, strict=True)):
            for column in one.columns:
                cells = table.column(column, f"identity.{place}.columns")
                for patient, numbers in rows.items():
                    found.setdefault(patient, set()).update(*(of_cell(cells[row]) for row in numbers if cells[row]))
        return found

    @cached_property
    def identifiers(self) -> dict[str, set[Identifier]]:
        """Patient -> what notes must not hold: from identity columns, and from the headers of all images here."""
        found = {patient: set(known) for patient, known in self.of_identity.items()}
        for images in self.headers.values():
            for patient, known in images.identifiers.items():
                found.setdefault(patient, set()).update(known)
        return found
