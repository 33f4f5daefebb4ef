"""Targets: where a hospital has each part of what a study predicts.

Of a task with one target it is the column that site.yaml names under `target` itself; of one whose target has several
parts it stands in a section of `target`, by the part's name. A kind of source is a section, and one line here.
"""

from __future__ import annotations

from collections.abc import Mapping

from client.site import ColumnSource, SiteFile, SiteFolder
from common.errors import SiteFileError
from common.study import Study
from common.tasks.part import TARGET, Part

SECTIONS: Mapping[str, str] = {
    "column": "columns",
}


def key_of(part: Part) -> str:
    """Return where in site.yaml the source of a part stands."""
    return "target" if part.name == TARGET else f"target.{SECTIONS[part.kind]}.{part.name}"


def sources_of(file: SiteFile, study: Study) -> dict[str, ColumnSource]:
    """Return by part of the study's target where this site has it; without those that site.yaml does not name."""
    found = {part.name: _source(file, part) for part in study.task.parts}
    return {name: source for name, source in found.items() if source is not None}


def _source(file: SiteFile, part: Part) -> ColumnSource | None:
    if part.name == TARGET:
        return file.target.one
    section: Mapping[str, ColumnSource] = getattr(file.target, SECTIONS[part.kind])
    return section.get(part.name)


def target_here(folder: SiteFolder, study: Study) -> dict[str, ColumnSource]:
    """As `sources_of`. SiteFileError where site.yaml lacks a part without which no site takes part, or has none."""
    found = sources_of(folder.file, study)
    lacking = [part for part in study.task.parts if part.name not in found]
    if needed := [part for part in lacking if part.needed] or (lacking if not found else []):
        raise SiteFileError(
            f"site.yaml of {folder.root}: missing {', '.join(map(key_of, needed))}. The study {study.task.described}; "
            "name the file and the column of it there."
        )
    return found
