"""site.yaml: where this hospital's data is, and what its columns are called. It never leaves the site."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from common import schema as border
from common.errors import SiteFileError
from common.schema import schema

Column = Annotated[str, Field(min_length=1)]


@schema
class ImageSource:
    """A folder of DICOM files, searched with its subfolders. A file belongs to the patient of its `patient_tag`."""

    folder: Path
    patient_tag: Literal["PatientID", "AccessionNumber"] = "PatientID"


@schema
class TableSource:
    """A CSV file with one row a patient. `columns` maps the study's names to the file's, `values` its categories.

    A study column that `columns` does not name has the same name in the file. Empty cells and `missing` are gaps.
    """

    file: Path
    patient: Column | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=lambda: ["?", "NA", "nan"])
    duplicates: Literal["error", "first", "last"] = "error"


@schema
class NoteSource:
    """A CSV file with one row a note; the notes of a patient are joined in the file's order."""

    file: Path
    text: Column = "text"
    patient: Column | None = None


@schema
class ColumnSource:
    """One column of a CSV file: the target, or a split. `values` maps the file's words to the study's."""

    file: Path
    column: Column
    patient: Column | None = None
    values: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=lambda: ["?", "NA", "nan"])


@schema
class Identity:
    """Columns that hold who the patient is. They are read so that the gate knows what it must not find in a note."""

    file: Path
    patient: Column | None = None
    columns: list[Column] = field(default_factory=list)


@schema
class Policy:
    """What this site allows, whatever a study says. `minimum_sites`: the least that a secure sum may open over."""

    minimum_sites: Annotated[int, Field(ge=3)] = 3


@schema
class SiteFile:
    """The schema of site.yaml. Paths are relative to the file itself."""

    site: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    patient: Column = "patient_id"
    target: ColumnSource
    images: dict[str, ImageSource] = field(default_factory=dict)
    records: dict[str, TableSource] = field(default_factory=dict)
    notes: dict[str, NoteSource] = field(default_factory=dict)
    sequences: dict[str, TableSource] = field(default_factory=dict)
    split: ColumnSource | None = None
    identity: list[Identity] = field(default_factory=list)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    clipping: Literal["auto", "loop", "opacus"] = "auto"  # `loop` is the strict one: see SECURITY.md
    policy: Policy = field(default_factory=Policy)
    state: Path = Path("state")  # cache, ledger and keys: mode 0700
    models: Path = Path("models")  # pretrained weights that a study may name
    connector: Path = Path("connector")  # all that the connector is given: its own key, no patient data
    socket: Path = Path("run/agent.sock")  # where the agent answers its connector

    @property
    def modalities(self) -> set[str]:
        """Names of the modalities that this site says it has."""
        return {*self.images, *self.records, *self.notes, *self.sequences}


@dataclass(frozen=True)
class SiteFolder:
    """A site file and the folder that its paths start from."""

    file: SiteFile
    root: Path

    def path(self, relative: Path) -> Path:
        return relative if relative.is_absolute() else self.root / relative


def read_site(path: Path) -> SiteFolder:
    """Read a site.yaml (or the one in a folder), or raise SiteFileError naming every mistake and its place."""
    path = path / "site.yaml" if path.is_dir() else path
    return SiteFolder(border.read(path, SiteFile, SiteFileError), path.parent.resolve())
