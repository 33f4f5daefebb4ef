"""RoundPlan: what the coordinator asks of every site in one round, and what each will then add to the sum.

The plan goes into the transcript of the secure sum by its digest, weights included: a site that was given another
plan, or other weights, ends up with other masks, and its update stays hidden.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import StudyError
from common.secure_sum.thresholds import smallest_threshold
from common.statistics import patient_sensitivity, statistic_segments
from common.study import Study
from common.summand import Layout, Segment

if TYPE_CHECKING:  # they load PyTorch, which a connector, that only carries plans, does not have
    from common.parameters import Parameters
    from common.privacy.plan import PrivacyPlan

Normaliser = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

# Ten standard deviations: passed by chance in one of 10^23 draws, and then the site sends nothing at all.
NOISE_TAIL = 10.0


@dataclass(frozen=True)
class RoundPlan:
    """One round. `round` counts from 1; 0 is the round before training, with the statistics and the first score.

    seconds: a site trains until its share of the time is over, this many; 0 for as long as its steps take
    weights: float32 (n,), the global model in the order of `Parameters`
    sites: R, the sites that hold shares, in the order of their names
    owners: `shared` and the modalities that are used in this round, and for each the sites of R that signed for it
        (`shared`: all), whether or not they are in U1. A modality that is not here is absent in every case, everywhere
    normaliser: modality -> (mean, sd), for those that are normalised by secure-summed statistics
    """

    study: str
    run: str
    round: int
    attempt: int
    statistics: bool
    train: bool
    evaluate: Literal["", "validation", "test"]
    sites: tuple[str, ...]
    owners: Mapping[str, tuple[str, ...]]
    weights: NDArray[np.float32] = field(repr=False)
    normaliser: Normaliser = field(default_factory=dict, repr=False)
    seconds: float = 0.0

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that are summed in this round: "shared", and modalities with enough owners."""
        return tuple(self.owners)

    def used(self, study: Study) -> tuple[str, ...]:
        """The study's modalities that this round uses, in the study's order."""
        return tuple(name for name in study.names if name in self.owners)

    def parts(self, counted: Collection[str]) -> tuple[str, ...]:
        """The parts of the cohort that add to this plan's sum, of those that enough sites signed for."""
        if self.statistics:
            return tuple(sorted(counted))
        return tuple(part for part, there in ((self.evaluate, self.evaluate), ("train", self.train)) if there)

    def lonely(self, present: Collection[str], colluding: int) -> tuple[str, ...]:
        """Groups with fewer than c + 2 owners, or none, among the sites present: their sum would show one site."""
        count = {group: len(set(owners) & set(present)) for group, owners in self.owners.items()}
        return tuple(group for group, owners in count.items() if owners < colluding + 2)

    @property
    def digest(self) -> bytes:
        """SHA-256 over every field, weights and normaliser included."""
        head: dict[str, Any] = {
            "study": self.study,
            "run": self.run,
            "round": self.round,
            "attempt": self.attempt,
            "statistics": self.statistics,
            "train": self.train,
            "evaluate": self.evaluate,
            "seconds": self.seconds,
            "sites": list(self.sites),
            "owners": [[group, list(sites)] for group, sites in self.owners.items()],
            "normaliser": {name: [list(mean), list(sd)] for name, (mean, sd) in self.normaliser.items()},
        }
        text = json.dumps(head, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode() + b"\0")
        digest.update(np.ascontiguousarray(self.weights, dtype="<f4").data)
        return digest.digest()


@dataclass(frozen=True)
class Declaration:
    """What a site signs for, each in the order of names: modalities, and parts of the cohort that it can fill.

    waits: 1 where it waits for lost sites, by its `policy.without_privacy.lost_site`; 2 where it does not and knows of
        a site that does
    """

    modalities: tuple[str, ...]
    parts: tuple[str, ...]
    waits: int = 1


@dataclass(frozen=True)
class Phase:
    """What a round is for: the most that a plan may ask in it."""

    statistics: bool = False
    train: bool = False
    evaluate: Literal["", "validation", "test"] = ""


def phase_of(study: Study, number: int) -> Phase:
    """Return what the study asks in this round: 0 statistics, 1..N training, N+1 the last score, N+2 the test.

    Validation patients score, in a round, the model that it starts from. Test patients score once, at the end.
    """
    if not 1 <= number <= study.rounds + 1:
        return Phase(statistics=number == 0, evaluate="test" if number == study.rounds + 2 else "")
    due = (number - 1) % study.evaluation.every == 0 or number == study.rounds + 1
    scored: Literal["", "validation"] = "validation" if due and study.split.validates else ""
    return Phase(train=number <= study.rounds, evaluate=scored)


def layout_of(plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None) -> Layout:
    """The segments that every site adds for this plan, each bounded by public constants of the study."""
    from common.scores import score_segments, score_sensitivity

    segments: list[Segment] = []
    if plan.statistics:
        tail = privacy.statistics_noise_multiplier * patient_sensitivity(study) * NOISE_TAIL if privacy else 0.0
        segments += [
            Segment(part.name, part.length, part.bound + tail) for part in statistic_segments(study, plan.groups)
        ]
    if plan.train:
        weight = 1.0 if privacy else float(study.secure_sum.max_cases)
        for group in trained_groups(plan, parameters):
            where = parameters.slice(group)
            segments.append(Segment(f"weight/{group}", 1, weight))
            segments.append(
                Segment(f"update/{group}", where.stop - where.start, weight * study.secure_sum.update_bound)
            )
    if plan.evaluate:
        multiplier = privacy.evaluation_of(plan.evaluate).noise_multiplier if privacy else 0.0
        tail = multiplier * score_sensitivity(study) * NOISE_TAIL
        segments += [Segment(part.name, part.length, part.bound + tail) for part in score_segments(study)]
    return Layout(tuple(segments))


def trained_groups(plan: RoundPlan, parameters: Parameters) -> tuple[str, ...]:
    """The plan's groups that have parameters: a modality whose encoder learns nothing has statistics alone."""
    sized = {group: parameters.slice(group) for group in plan.groups}
    return tuple(group for group, where in sized.items() if where.stop > where.start)


def threshold_of(study: Study, sites: int) -> int:
    """t for `sites` holders of shares: the study's, or the smallest with 2t > |R| + c and t >= c + 2."""
    c = study.secure_sum.colluding
    smallest = smallest_threshold(sites, c)
    chosen = study.secure_sum.threshold or smallest
    if chosen > sites:
        raise StudyError(
            f"secure_sum: {sites} sites, but a sum needs {chosen} (with {c} that may collude). "
            "Invite more sites; a secure sum starts at three."
        )
    if chosen < smallest:
        raise StudyError(f"secure_sum.threshold: {chosen} is unsafe with {sites} sites; use {smallest} or more.")
    return chosen


def least_sites(study: Study) -> int:
    """Return the fewest sites that a sum of this study, and so its run, may begin with."""
    agreed = study.secure_sum
    return max(agreed.threshold or 0, least_owners(study)) if agreed.enabled else 1


def least_owners(study: Study) -> int:
    """Return the fewest sites whose sum is opened of a modality or a part: c + 2, so that it shows none of them."""
    return study.secure_sum.colluding + 2 if study.secure_sum.enabled else 1


def title(number: int, rounds: int) -> str:
    """A round as a person calls it."""
    if number < 1:
        return "statistics" if number == 0 else "before the first round"
    if number <= rounds:
        return f"round {number} of {rounds}"
    return "last score" if number == rounds + 1 else "test"
