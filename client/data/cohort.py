"""Cohort: a site's cases for one study, joined by patient, in three parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from client.data.cache import Entry
from client.data.labels import Label, require_usable
from client.data.pseudonym import SiteSecret
from client.data.recipe import Rules
from client.data.split import PARTS, Part, rank
from client.data.tensors import batch
from common.errors import CohortError
from common.models.batch import Batch
from common.study import Study
from common.tasks import Task

OPTED_OUT = "exclusions: patients who opted out"  # a count of a cohort


@dataclass(frozen=True)
class Cohort:
    """One row a patient. `version` changes with the prepared data, and tells nothing of it outside this site.

    owned: the study's modalities that at least one case has; with privacy all that were looked for, whoever has them
    counts: what was left out and why, and what the gate replaced: for this site's eyes
    opt_outs: what the list of those who opted out comes to here, in words; by lines of the list, never by patient
    doubt: what a person should look at in that list, in words; nothing where it is in order
    sides: pseudonym -> part of every case, in the order of the rows of each part
    out: pseudonyms of those who have a target and are in no part: no word in the split column, no modality of the study
    rules: by what the study takes a patient
    told: pseudonym -> the parts of the target that are known; empty for a task of one part
    """

    site: str
    owned: tuple[str, ...]
    train: Batch = field(repr=False)
    validation: Batch = field(repr=False)
    test: Batch = field(repr=False)
    version: str = field(repr=False)
    counts: Mapping[str, int] = field(default_factory=dict, repr=False)
    opt_outs: str = field(default="", repr=False)
    doubt: str = field(default="", repr=False)
    sides: Mapping[str, Part] = field(default_factory=dict, repr=False)
    out: frozenset[str] = field(default=frozenset(), repr=False)
    rules: Rules = field(default_factory=Rules, repr=False)
    told: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        sizes = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"Cohort({self.site}, {sizes}, owned={self.owned})"

    def seen_with(self, names: Collection[str]) -> Cohort:
        """The cohort of somebody who has only these modalities: whoever has only others is no case, and is counted."""
        if set(self.owned) <= set(names):
            return self
        shown = {part: getattr(self, part).only(names) for part in PARTS}
        parts = {part: several.with_any() for part, several in shown.items()}
        gone = sum(len(getattr(self, part)) - len(parts[part]) for part in PARTS)
        others = ", ".join(name for name in self.owned if name not in names)
        counts = dict(self.counts) | {f"patients with only {others}, not used in this run": gone}
        return replace(
            self,
            owned=tuple(name for name in self.owned if name in names),
            version=f"{self.version}/{others}",
            counts=counts,
            sides=self._sides_of({part: several.present.any(dim=1).tolist() for part, several in shown.items()}),
            **parts,
        )

    def _sides_of(self, seen: Mapping[Part, list[bool]]) -> Mapping[str, Part]:
        """Return the sides of those rows that are seen, by part."""
        found: dict[str, Part] = {}
        for part, rows in seen.items():
            names = [one for one, side in self.sides.items() if side == part]
            found |= dict.fromkeys((one for one, row in zip(names, rows, strict=bool(self.sides)) if row), part)
        return found

    def filled(self, names: Collection[str]) -> Cohort:
        """The cohort with nobody in the other parts."""
        empty = {part: getattr(self, part).rows([]) for part in PARTS if part not in names}
        return replace(self, **empty) if empty else self

    def with_enough(self, task: Task, smallest: int) -> Cohort:
        """The cohort without such parts of a target that has several as fewer than `smallest` patients of a part of the
        cohort have: where no other site has one, the sum would be these patients' alone.
        """
        if len(task.parts) == 1 or smallest <= 1:
            return self
        train, validation, test = (_with_enough(getattr(self, part), task, smallest) for part in PARTS)
        return replace(self, train=train, validation=validation, test=test)


def _with_enough(batch: Batch, task: Task, smallest: int) -> Batch:
    numbers, target = task.told(np.asarray(batch.target)).sum(axis=0), batch.target
    for part, number in zip(task.parts, numbers, strict=True):
        target = task.without(target, part.name) if number < smallest else target
    return Batch(batch.inputs, batch.present, target)


def cohort_of(
    site: str,
    study: Study,
    labels: Mapping[str, Label],
    entries: Mapping[str, Entry],
    secret: SiteSecret,
    counts: Counter[str],
) -> Cohort:
    """Join labels and prepared rows. A case has a usable target and at least one modality of the study.

    Raises CohortError where that leaves too few (`require_usable`), or more than the study allows. With differential
    privacy nobody is refused for how many there are: sums that are too large are cut after their noise.
    """
    pseudonyms = {patient: secret.pseudonym(patient) for patient in labels}
    having = {pseudonym for entry in entries.values() for pseudonym in entry.pseudonyms}
    patients = [patient for patient, pseudonym in pseudonyms.items() if pseudonym in having]
    counts["patients without any modality of the study"] += len(labels) - len(patients)
    members: dict[Part, list[str]] = {part: [] for part in PARTS}
    for patient in sorted(patients, key=lambda patient: (rank(patient, study.split), patient)):
        members[labels[patient].part].append(patient)
    if not study.private:
        require_usable(site, {patient: labels[patient] for patient in patients})
        _require_bound(site, study, len(patients))
    targets = {patient: study.task.target_of(labels[patient].values) for patient in patients}
    parts = {
        part: batch(study, entries, [pseudonyms[one] for one in several], [targets[one] for one in several])
        for part, several in members.items()
    }
    return Cohort(
        site=site,
        owned=tuple(name for name in study.names if name in entries),
        version=_version(parts, pseudonyms, members, entries, secret),
        counts={what: number for what, number in counts.items() if number},
        opt_outs="",  # `prepare` has the list
        doubt="",
        sides={pseudonyms[one]: part for part, several in members.items() for one in several},
        out=frozenset(pseudonyms.values()) - having,
        rules=Rules(),  # `prepare` has the site's file
        told=_told(study, {pseudonyms[patient]: targets[patient] for patient in patients}),
        **parts,
    )


def _told(study: Study, targets: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    parts = [part.name for part in study.task.parts]
    if len(parts) == 1 or not targets:
        return {}
    rows = study.task.told(np.array([*targets.values()], dtype=study.task.target_type)).tolist()
    told = (frozenset(part for part, known in zip(parts, row, strict=True) if known) for row in rows)
    return dict(zip(targets, told, strict=True))


def _require_bound(site: str, study: Study, number: int) -> None:
    bound = study.secure_sum.max_cases
    if number > bound:
        raise CohortError(
            f"Site {site}: {number} patients are more than secure_sum.max_cases of the study, {bound}. Ask the "
            "coordinator for a study with a larger bound, or check the key `target` in site.yaml."
        )


def _octets(target: object) -> str:
    """The targets' bytes in hex, little-endian on every machine."""
    values = np.asarray(target)
    return values.astype(values.dtype.newbyteorder("<")).tobytes().hex()


def _version(
    parts: Mapping[Part, Batch],
    pseudonyms: Mapping[str, str],
    members: Mapping[Part, list[str]],
    entries: Mapping[str, Entry],
    secret: SiteSecret,
) -> str:
    content = [f"{name}\0{entry.checksum}\0{'.'.join(entry.pseudonyms)}\0" for name, entry in entries.items()]
    for part, several in members.items():
        content.append(f"{part}\0{'.'.join(pseudonyms[one] for one in several)}\0")
        content.append(_octets(parts[part].target))
    return secret.digest("cohort", "".join(content).encode())
