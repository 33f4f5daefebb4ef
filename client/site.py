"""site.yaml: where this hospital's data is, and what its columns are called. It never leaves the site."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from client.hours import Hours
from common import schema as border
from common.errors import SiteFileError
from common.schema import schema
from common.value_types import Name

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
    """One column of a CSV file: a target, or a split. `values` maps the file's words to the study's."""

    file: Path
    column: Column
    patient: Column | None = None
    values: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=lambda: ["?", "NA", "nan"])


@schema
class TargetSource:
    """Where is what a study predicts: one column, as a `ColumnSource`, or the parts of a target that has several, by
    the names that the study's task gives them: see `common/tasks`. One file may have both, for several studies.
    """

    file: Path | None = None
    column: Column | None = None
    patient: Column | None = None
    values: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=lambda: ["?", "NA", "nan"])
    columns: dict[Name, ColumnSource] = field(default_factory=dict)
    masks: dict[Name, ImageSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lacking = [key for key in ("file", "column") if getattr(self, key) is None]
        if len(lacking) == 1 or (lacking and not (self.columns or self.masks)):
            raise ValueError(f"missing {' and '.join(lacking)}; name the column of the target")
        if lacking and (self.patient is not None or self.values):
            raise ValueError("patient and values go with file and column; of a part they stand with the part")

    @property
    def one(self) -> ColumnSource | None:
        """Return the column of a study with one target; None where the file names parts alone."""
        if self.file is None or self.column is None:
            return None
        return ColumnSource(
            file=self.file, column=self.column, patient=self.patient, values=self.values, missing=self.missing
        )

    @property
    def tables(self) -> dict[str, ColumnSource]:
        """Return every source that is a column, by its place in site.yaml."""
        parts = {f"target.columns.{name}": source for name, source in self.columns.items()}
        return ({"target": self.one} if self.one else {}) | parts


@schema
class Identity:
    """Columns that hold who the patient is. They are read so that the gate knows what it must not find in a note."""

    file: Path
    patient: Column | None = None
    columns: list[Column] = field(default_factory=list)


SMALLEST_PART = {False: 10, True: 1}  # deployed, simulated


@schema
class WithoutPrivacy:
    """What holds for studies without differential privacy, whose sums are exact.

    lost_site: a sum over other sites than before may show, by its difference from the sums before, what few sites
        added. `wait`: it is not given, and a run waits for the site that it lost. `show`: it is given, and only the
        very same question is not answered over other sites. None: `wait` when deployed, `show` in a simulation
    smallest_part: the fewest patients with which this site signs for a part of the cohort (training, validation, test),
        or for a modality (training patients), with a value of a column whose moments are summed, of which two splits of
        the same patients may differ, in all and of each modality, who come into a study's sums or leave them by the
        modalities used, and of whom an update is (steps x batch size). None: 10 when deployed, 1 in a simulation
    """

    lost_site: Literal["wait", "show"] | None = None
    smallest_part: Annotated[int, Field(ge=1)] | None = None

    def waits(self, *, simulated: bool) -> bool:
        """Whether a sum over other sites than before is refused."""
        return self.lost_site == "wait" or (self.lost_site is None and not simulated)

    def smallest(self, *, simulated: bool) -> int:
        """The fewest patients of a part."""
        return self.smallest_part if self.smallest_part is not None else SMALLEST_PART[simulated]


@schema
class Policy:
    """What this site allows, whatever a study says.

    minimum_sites: the least that a secure sum may open over
    minimum_cohort: the fewest cases, all parts together, with which this site takes part
    require_privacy: of the study; None: yes when deployed, no in a simulation
    largest_epsilon, require_secure_sum: of the study
    delta: the one number at which this hospital's ledger judges what all studies spent together, or at the study's
        where that is smaller; a study with a larger delta is refused. Well below one over the number of patients
    hours: "HH:MM-HH:MM" of local time in which work may begin; past midnight if the end is the smaller; None: always
    modalities: those that may be used, None for all; others are left out of every study
    round_seconds: when local training stops, wherever it stands, and hands over what it has; with privacy the steps
        that are left are of noise alone, and without it a round in which a site waits for lost sites is refused then
    bytes_out_per_round: the most that may leave in one round
    approval: `required`: a person approves each study; `not_asked`: the study's file must only be kept here
    retention_days: how long prepared data is kept after it was read last; 0: for good
    without_privacy: where a study has no differential privacy
    """

    minimum_sites: Annotated[int, Field(ge=3)] = 3
    minimum_cohort: Annotated[int, Field(ge=1)] = 1
    require_privacy: bool | None = None
    largest_epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    delta: Annotated[float, Field(gt=0, lt=0.01)] = 1e-5
    require_secure_sum: bool = True
    hours: str | None = None
    modalities: list[str] | None = None
    round_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    bytes_out_per_round: Annotated[int, Field(ge=1)] | None = None
    approval: Literal["required", "not_asked"] = "required"
    retention_days: Annotated[int, Field(ge=0)] = 0
    without_privacy: WithoutPrivacy = field(default_factory=WithoutPrivacy)

    def __post_init__(self) -> None:
        if self.hours is not None:
            Hours.parse(self.hours)

    def asks_for_privacy(self, *, simulated: bool) -> bool:
        """Whether a study without differential privacy is refused."""
        return not simulated if self.require_privacy is None else self.require_privacy


@schema
class SiteFile:
    """The schema of site.yaml. Paths are relative to the file itself."""

    schema: Annotated[int, Field(ge=0, le=border.SCHEMA)] = border.since(1, 0)
    site: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    patient: Column = "patient_id"
    target: TargetSource
    images: dict[str, ImageSource] = field(default_factory=dict)
    records: dict[str, TableSource] = field(default_factory=dict)
    notes: dict[str, NoteSource] = field(default_factory=dict)
    sequences: dict[str, TableSource] = field(default_factory=dict)
    split: ColumnSource | None = None
    exclusions: Path | None = None  # a CSV file whose column `patient` lists those who opted out
    identity: list[Identity] = field(default_factory=list)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    clipping: Literal["auto", "loop", "opacus"] = "auto"  # `opacus` is weaker: see SECURITY.md
    policy: Policy = field(default_factory=Policy)
    state: Path = Path("state")  # cache, ledger and keys: mode 0700
    models: Path = Path("models")  # pretrained weights that a study may name
    connector: Path = Path("connector")  # all that the connector is given: its own key, no patient data
    socket: Path = Path("run/agent.sock")  # where the agent answers its connector

    @property
    def modalities(self) -> set[str]:
        """Names of the modalities that this site says it has, in whatever section of sources."""
        return {name for section in vars(self).values() if isinstance(section, dict) for name in section}


@dataclass(frozen=True)
class SiteFolder:
    """A site file and the folder that its paths start from. `excluded`: patients to pass over, as read last."""

    file: SiteFile
    root: Path
    name: str = "site.yaml"  # of the file in the folder
    excluded: frozenset[str] = field(default=frozenset(), repr=False)

    def path(self, relative: Path) -> Path:
        return relative if relative.is_absolute() else self.root / relative


def state_of(site: SiteFolder) -> Path:
    """The agent's folder, for a person's command. SiteFileError where it is another user's: what is in there would look
    as if nothing had ever been approved, or left.
    """
    state = site.path(site.file.state)
    if state.exists() and not os.access(state, os.R_OK | os.X_OK):
        raise SiteFileError(
            f"{state}: is the folder of the user {_name_of(state.stat().st_uid)}, who alone may look into it. Run this "
            "as that user: sudo -u USER wardround …"
        )
    return state


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def read_site(path: Path) -> SiteFolder:
    """Read a site.yaml (or the one in a folder), or raise SiteFileError naming every mistake and its place."""
    path = path / "site.yaml" if path.is_dir() else path
    if not path.exists():
        raise SiteFileError(f"{path.parent}: has no {path.name}. Give the folder that has one with --at.")
    return SiteFolder(border.read(path, SiteFile, SiteFileError), path.parent.resolve(), path.name)
