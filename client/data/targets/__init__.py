"""Targets: where a hospital has each part of what a study predicts.

Of a task with one target it is the column that site.yaml names under `target` itself; of one whose target has several
parts it stands in a section of `target`, by the part's name. A kind of source is a section, and a line here: a column
of a table, or files of each patient, which are read, pass a gate and are kept as those of a modality.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from client.data.kinds import KINDS
from client.data.kinds.kind import DataKind
from client.data.targets.masks import MaskKind
from client.site import ColumnSource, ImageSource, SiteFile, SiteFolder
from common.errors import SiteFileError
from common.study import Study
from common.tasks.part import TARGET, Part

SECTIONS: Mapping[str, str] = {
    "column": "columns",
    "mask": "masks",
}
FILES: Mapping[str, type[DataKind[Any, Any, Any, Any]]] = {
    "mask": MaskKind,
}
Source = ColumnSource | ImageSource


def key_of(part: Part) -> str:
    """Return where in site.yaml the source of a part stands."""
    return "target" if part.name == TARGET else f"target.{SECTIONS[part.kind]}.{part.name}"


def _lacking(part: Part) -> str:
    """The keys that site.yaml has to have for a part."""
    return "target.file and target.column" if part.name == TARGET else key_of(part)


def sources_of(file: SiteFile, study: Study) -> dict[str, Source]:
    """Return by part of the study's target where this site has it; without those that site.yaml does not name."""
    found = {part.name: _source(file, part) for part in study.task.parts}
    return {name: source for name, source in found.items() if source is not None}


def _source(file: SiteFile, part: Part) -> Source | None:
    if part.name == TARGET:
        return file.target.one
    section: Mapping[str, Source] = getattr(file.target, SECTIONS[part.kind])
    return section.get(part.name)


def target_here(folder: SiteFolder, study: Study) -> dict[str, Source]:
    """As `sources_of`. SiteFileError where site.yaml lacks a part without which no site takes part, or has none."""
    found = sources_of(folder.file, study)
    lacking = [part for part in study.task.parts if part.name not in found]
    if needed := [part for part in lacking if part.needed] or (lacking if not found else []):
        raise SiteFileError(
            f"site.yaml of {folder.root}: missing {', '.join(map(_lacking, needed))}. The study "
            f"{study.task.described}; name there where it is."
        )
    return found


def files_of(study: Study) -> dict[str, Part]:
    """Return the parts that are files of each patient, by the name under which their rows are kept: no modality's."""
    return {f"{SECTIONS[part.kind]}.{part.name}": part for part in study.task.parts if part.kind in FILES}


def kind_of(study: Study, name: str) -> tuple[type[DataKind[Any, Any, Any, Any]], Any]:
    """Return what reads a modality of the study, or a part of its target that is files (`files_of`), and the modality
    that it is, or is beside. KeyError for any other name.
    """
    if name in study.modalities:
        return KINDS[study.modalities[name].kind], study.modalities[name]
    part = files_of(study)[name]
    return FILES[part.kind], study.modalities[part.beside or ""]
