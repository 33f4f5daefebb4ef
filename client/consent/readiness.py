"""Readiness: what a study finds at this site, counted for the person who decides whether it takes part.

With differential privacy it is looked at here and nowhere else: once the study is approved, no answer hangs on how many
patients there are. Counts, never values; none of them leaves this site.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from client.data.cohort import Cohort
from client.data.labels import KEEPING
from client.data.losses import told
from client.site import Policy
from common.errors import CohortError
from common.models.batch import Batch
from common.study import Study

_FEW = 10  # cases of a part: with fewer, scores say nothing


@dataclass(frozen=True)
class Readiness:
    """`lines` say what there is and what was left out; `warnings` what a person should think about first."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def readiness(cohort: Cohort, study: Study) -> Readiness:
    """Count a cohort for the people of its site."""
    parts = _parts(cohort)
    sizes = ", ".join(f"{len(part)} {name}" for name, part in parts.items())
    present = sum((np.asarray(part.present).sum(axis=0) for part in parts.values()), np.zeros(len(study.names), int))
    having = ", ".join(f"{name} {number}" for name, number in zip(study.names, present, strict=True))
    counts = study.task.counted(np.asarray(cohort.train.target))
    taught = ", ".join(f"{name} {number:.0f}" for name, number in zip(study.task.groups, counts, strict=True))
    lines = [f"Cases: {sizes}", f"Patients who have: {having}", f"Training cases of: {taught}"]
    return Readiness(tuple(lines + list(told(cohort.counts))), tuple(warnings(cohort, study)))


def warnings(cohort: Cohort, study: Study) -> list[str]:
    """Sentences on a cohort that can take part, and perhaps should not as it is."""
    found = []
    targets = np.concatenate([np.asarray(part.target) for part in (cohort.train, cohort.validation, cohort.test)])
    if not len(targets):
        return ["No patient here has a target and a modality of the study: this site would add nothing but noise."]
    if not len(cohort.train):
        found.append("No patient falls into the training part: this site would teach the model nothing.")
    if len({np.asarray(target).tobytes() for target in targets}) == 1:
        found.append(
            f"All {len(targets)} patients have the same target. Other sites have the others; or is it a mistake in "
            "target.column or target.values of site.yaml?"
        )
    if stay := cohort.counts.get(KEEPING, 0):
        found.append(
            f"{stay} patients have another part in the file of `split` than when this study began here. They keep the "
            "part that they had: nobody is trained on and tested in one study. A corrected split is for another "
            "study: with privacy, or by as many patients as policy.without_privacy.smallest_part says."
        )
    empty = [name for place, name in enumerate(study.names) if name in cohort.owned and not _any(cohort, place)]
    if empty:
        found.append(f"Nobody has {', '.join(empty)}, which site.yaml names. Check its columns, and who it is of.")
    if 0 < len(cohort.train) < _FEW:
        found.append(f"{len(cohort.train)} training cases are very few.")
    return found


def not_counted(cohort: Cohort, study: Study, having: Collection[str], smallest: int) -> list[str]:
    """Return what of a study without privacy is in no sum, for it is of too few patients here: a sentence, or none.

    having: the modalities that at least `smallest` training patients have
    """
    numbers = np.asarray(cohort.train.present).sum(axis=0) if len(cohort.train) else [0] * len(study.names)
    lacking = {name: int(number) for name, number in zip(study.names, numbers, strict=True) if name not in having}
    few = [f"{name} of {number} training cases" for name, number in lacking.items() if number]
    seen = cohort.seen_with(having)
    few += [f"{len(part)} {word} cases" for word, part in _parts(seen).items() if 0 < len(part) < smallest]
    if not few:
        return []
    nothing = "" if len(seen.train) >= smallest else " Without training cases this site adds nothing to the study."
    return [
        f"Not counted, for it is of fewer than {smallest} patients (policy.without_privacy.smallest_part in site.yaml)"
        f": {', '.join(few)}.{nothing}"
    ]


def _parts(cohort: Cohort) -> dict[str, Batch]:
    """The parts of a cohort, by the words for them."""
    return {"training": cohort.train, "validation": cohort.validation, "test": cohort.test}


def _any(cohort: Cohort, place: int) -> bool:
    return any(bool(part.present[:, place].any()) for part in (cohort.train, cohort.validation, cohort.test))


def require_enough(cohort: Cohort, policy: Policy) -> None:
    """Raise CohortError for fewer cases, all parts together, than `policy.minimum_cohort` of site.yaml."""
    cases = sum(map(len, (cohort.train, cohort.validation, cohort.test)))
    if cases < policy.minimum_cohort:
        raise CohortError(f"{cases} cases are fewer than policy.minimum_cohort in site.yaml, {policy.minimum_cohort}.")
