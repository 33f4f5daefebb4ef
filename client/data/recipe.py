"""What of a study decides a modality's rows, and by what it takes its patients at all."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from client.data.targets import sources_of
from client.site import ColumnSource, SiteFile
from common.study import Study
from common.tasks.part import TARGET


@dataclass(frozen=True)
class Rules:
    """By what a study takes a patient who stands in the target's file.

    target: digest of the columns that site.yaml names for it, and of the study's classes; empty: nobody kept it
    split: of the column by whose word it splits, and who has none is in no part; empty: it splits by a hash
    recipes: modality that the site reads -> digest of what decides whether a patient has it (`Modality.membership`). It
        is compared beside the name, by which site.yaml names the files. Also of each modality with each part of a
        target that has several (`with_parts`)
    """

    target: str = ""
    split: str = ""
    recipes: Mapping[str, str] = field(default_factory=dict)

    def recipe(self, name: str) -> tuple[str, str | None]:
        return name, self.recipes.get(name)

    def would_take(self, used: Iterable[str], own: Rules, having: Iterable[str]) -> bool:
        """Return whether a study with these rules, of which these modalities are used, takes a patient whom another
        one (`own`) took with the modalities of `having`, if it reads the same data.
        """
        theirs = {self.recipe(name) for name in used}
        same = self.split in ("", own.split) and (self.target == own.target or not (self.target and own.target))
        return same and any(own.recipe(name) in theirs for name in having)


def rules_of(file: SiteFile, study: Study, read: Collection[str]) -> Rules:
    """Return by what this study takes a patient at this site, which reads these of its modalities. Not by which file:
    exports get new names. Files of a target are read as those of the modality that they are beside: who has one hangs
    on what decides who has the other.
    """
    split = study.split.column and [study.split.column, file.split and file.split.column]
    membership = {name: modality.membership for name, modality in study.modalities.items() if name in read}
    recipes, parts = {name: _digest(one) for name, one in membership.items()}, sources_of(file, study)
    beside = {part.name: study.modalities[part.beside].membership for part in study.task.parts if part.beside}
    named: dict[str, object] = {
        name: one.column if isinstance(one, ColumnSource) else ["files", beside[name]] for name, one in parts.items()
    }
    columns = [named[TARGET]] if TARGET in named else [[*one] for one in named.items()]
    if len(study.task.parts) > 1:
        recipes |= {
            with_part(name, part): _digest([one, part, column, *study.task.vocabulary])
            for name, one in membership.items()
            for part, column in named.items()
        }
    return Rules(_digest([*columns, *study.task.vocabulary]), _digest(split) if split else "", recipes)


def with_part(modality: str, part: str) -> str:
    """Return the name of a modality and a part of the target, which a patient has who has both: no modality's name.

    Of both, sums are made: the losses of that part, of the patients who have the modality.
    """
    return f"{modality}@{part}"


def with_parts(modalities: Iterable[str], parts: Collection[str]) -> frozenset[str]:
    """Return the modalities, and each of them with each part."""
    names = frozenset(modalities)
    return names | {with_part(name, part) for name in names for part in parts}


def _digest(what: object) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
