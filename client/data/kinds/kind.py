"""What every kind of data can do at a hospital: be found, be read, pass the gate, become a row.

A kind is one file of this package and one line in `client/data/kinds/__init__.py`; what all sides share of it is in
`common/modalities`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from numpy.typing import NDArray

from client.data.case import Identifier
from client.data.site_files import SiteFiles
from client.site import SiteFolder
from common.errors import CohortError, DeidentificationError, SiteFileError, WardroundError
from common.modalities.modality import Modality as CommonModality
from common.modalities.modality import RowLayout

Source = TypeVar("Source")  # of site.yaml
Modality = TypeVar("Modality")  # of study.yaml
Raw = TypeVar("Raw")  # as the hospital's files tell it
Clean = TypeVar("Clean")  # as it passes the gate

Row = NDArray[Any]


class DataKind(ABC, Generic[Source, Modality, Raw, Clean]):
    """One modality of a study at one site, and what is true of its whole kind.

    section: of site.yaml, under which its sources stand. patient_key: the source's key that says who a patient is
    scrubs: whether the gate looks in it for what is known of the patient
    """

    section: ClassVar[str]
    patient_key: ClassVar[str] = "patient"
    scrubs: ClassVar[bool] = False

    def __init__(self, name: str, source: Source, modality: Modality, files: SiteFiles) -> None:
        self.name, self.source, self.modality, self.files = name, source, modality, files
        self.key = f"{self.section}.{name}"

    # --------------------------------------------------------------------------------------------------- the whole kind

    @classmethod
    @abstractmethod
    def fingerprint(cls, folder: SiteFolder, name: str, source: Source) -> bytes:
        """Return a SHA-256 that changes with the data of one modality. SiteFileError where it cannot be read."""

    @classmethod
    def columns(cls, source: Source, modality: Modality) -> Sequence[str]:
        """Return the columns of the source's file that the modality is read from; none where they are no columns."""
        return ()

    @classmethod
    @abstractmethod
    def gate(
        cls, raw: Raw, modality: Modality, key: str, known: Collection[Identifier], counts: Counter[str]
    ) -> Clean | None:
        """Return what of a patient's part may be trained on; None where that is nothing.

        known: what tells who the patient is. counts: what was taken out, and why, is counted in it, after `key`
        Raises DeidentificationError for what the study has no place for: a fault of this program
        """

    @classmethod
    @abstractmethod
    def row(cls, clean: Clean, modality: Modality, tool: Any) -> Row | None:
        """Return the stored row (`Modality.layout`); None where there are gaps only. tool: of `tool`."""

    @classmethod
    def layout(cls, modality: Modality) -> RowLayout:
        """Return the layout of its stored rows."""
        return cast(CommonModality, modality).layout

    @classmethod
    def recipe(cls, modality: Modality) -> object:
        """Return what of the study changes its rows."""
        return cast(CommonModality, modality).recipe

    @classmethod
    def tool(cls, modality: Modality, models: Path) -> Any:
        """Return what makes rows and takes long to load. `models`: the site's folder of pretrained models."""
        return None

    @classmethod
    def files_of_tool(cls, modality: Modality, models: Path) -> list[tuple[str, int, int]]:
        """Return names, sizes and times of the site's files that decide what rows the tool makes."""
        return []

    # --------------------------------------------------------------------------------------------------- one modality

    @abstractmethod
    def open(self) -> None:
        """Read tables and headers: what is wrong with a file shows here, what is wrong with a patient in `read`."""

    @abstractmethod
    def patients(self) -> set[str]:
        """Return who has this modality, usable or not."""

    @abstractmethod
    def read(self, patient: str) -> Raw | None:
        """Return what the hospital has of a patient."""

    def stamp(self, patient: str) -> str:
        """Return what the patient's part is made of, where a row need not be made anew while that stays; else ""."""
        return ""

    @abstractmethod
    def lost(self) -> Counter[str]:
        """Return what was left out of the files, by reason, in the words of `client.data.losses`."""

    @abstractmethod
    def unusable(self) -> WardroundError:
        """Return why there is no patient whose data can be used, though some are there."""

    def counts(self, wanted: Collection[str], having: int) -> dict[str, int]:
        """Return what was left out of this modality, by reason, in the words of `client.data.losses`.

        wanted: the patients with a target. having: those among them whose data could be used.
        """
        told, there = self.lost(), self.patients() & set(wanted)
        told[f"{self.key}: patients"] = max(told[f"{self.key}: patients"], len(there))
        told.update(self.lost_of(len(there), having))
        told[f"{self.key}: patients"] += (near := but_for_zeros(set(wanted) - there, self.patients() - there))
        told[f"{self.key}: patients whose number matches the target's file but for leading zeros"] = near
        return {what: number for what, number in told.items() if number}

    def lost_of(self, there: int, having: int) -> dict[str, int]:
        """Return of how many patients who are there nothing can be used, where that is not in `lost`."""
        return {}

    def require(self, wanted: Collection[str], rows: int) -> None:
        """Refuse a modality that site.yaml names and that gives no row: a mistake to be told, and none to miss."""
        if rows:
            return
        there, root = self.patients(), self.files.folder.root
        if there & set(wanted):
            raise self.unusable()
        near = but_for_zeros(wanted, there)
        zeros = f" {near} of them would match but for leading zeros, which a spreadsheet takes away." if near else ""
        raise CohortError(
            f"site.yaml of {root}: {self.key} has {len(there)} patients, and none of them is among the {len(wanted)} "
            f"with a target.{zeros} Check that both name patients alike (keys patient, target.patient, "
            f"{self.key}.{self.patient_key}); or remove {self.key}."
        )


def closed(key: str) -> DeidentificationError:
    """The error for a part that is not as the study's: a fault of this program."""
    return DeidentificationError(f"{key}: holds something that the study has no column or category for.")


def gaps_only(root: Path, key: str) -> WardroundError:
    """The error for a table without any value."""
    return CohortError(f"site.yaml of {root}: {key} has gaps only. Check its columns, or remove the key.")


def but_for_zeros(some: Iterable[str], others: Iterable[str]) -> int:
    """Return how many of some patients' numbers are among the others' once both have lost their leading zeros."""
    short = {patient.lstrip("0") for patient in others}
    return sum(patient.lstrip("0") in short for patient in some)


def content(path: Path, key: str) -> bytes:
    """Return the SHA-256 of a file of this modality. `key`: its place in site.yaml."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as problem:
        raise SiteFileError(
            f"{path}: cannot be read ({problem.strerror}). Check site.yaml, key {key}, and the file's permissions."
        ) from None
