"""A cut: which patients are training, validation and test patients of a study, and what each adds to its sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from client.data.cohort import Cohort
from client.data.recipe import Rules, with_parts
from client.data.split import PARTS


@dataclass(frozen=True)
class Cut:
    """A cohort as one sum takes it.

    parts: pseudonym -> part of every patient of the cohort, also of who adds to no sum
    having: pseudonym -> the modalities of the study that the patient has, each also with the parts that are known of
        a target that has several (`client.data.recipe.with_parts`)
    used: the modalities of the run that this site signed for, and so with each part
    signed: the parts that this site signed for; to the others it adds nothing
    out: pseudonyms of those who have a target and are in no part of the cohort
    rules: by what the study takes a patient
    """

    parts: Mapping[str, str] = field(repr=False)
    having: Mapping[str, frozenset[str]] = field(repr=False)
    used: frozenset[str]
    signed: frozenset[str] = frozenset(PARTS)
    out: frozenset[str] = field(default=frozenset(), repr=False)
    rules: Rules = field(default_factory=Rules)

    @cached_property
    def _shown(self) -> dict[str, frozenset[str]]:
        return {patient: names & self.used for patient, names in self.having.items()}

    def shown(self, patient: str) -> frozenset[str]:
        """Return the modalities with which the patient adds to the sums; who has none of those used adds to none."""
        return self._shown[patient]

    def side(self, patient: str) -> str | None:
        """Return the part of a patient who adds to the sums; None for the others."""
        return self.sides.get(patient)

    @cached_property
    def sides(self) -> dict[str, str]:
        """Pseudonym -> part of those who add to the sums."""
        return {patient: part for patient, part in self.parts.items() if self._shown[patient]}

    def filled(self, smallest: int) -> frozenset[str]:
        """Return the parts that have so many patients who add to the sums."""
        sizes = Counter(self.sides.values())
        return frozenset(part for part in PARTS if sizes[part] >= smallest)

    @cached_property
    def nowhere(self) -> frozenset[str]:
        """Pseudonyms of those who have a target and are in no sum, for want of a part or of a modality used."""
        return self.out | {patient for patient in self.parts if not self.shown(patient)}


def cut_of(cohort: Cohort, used: Collection[str], signed: Collection[str] = PARTS) -> Cut:
    """Return the cut of a cohort for a sum of these modalities and parts."""
    names, parts = list(cohort.train.inputs), frozenset[str]().union(*cohort.told.values())
    having: dict[str, frozenset[str]] = {}
    for part in PARTS:
        patients = [patient for patient, side in cohort.sides.items() if side == part]
        rows = getattr(cohort, part).present.tolist()
        for patient, row in zip(patients, rows, strict=bool(cohort.sides)):
            own = (name for name, present in zip(names, row, strict=True) if present)
            having[patient] = with_parts(own, cohort.told.get(patient, ()))
    return Cut(dict(cohort.sides), having, with_parts(used, parts), frozenset(signed), cohort.out, cohort.rules)
