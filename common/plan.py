"""RoundPlan: what the coordinator asks of every site in one round.

The plan goes into the transcript of the secure sum by its digest, weights included: a site that was given another
plan, or other weights, ends up with other masks, and its update stays hidden.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import StudyError
from common.identity import encoding
from common.secure_sum.thresholds import smallest_threshold
from common.study import Study

Normaliser = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

STATISTICS, UPDATE = "statistics", "update"  # what a plan may ask for, by name: see `common/questions/`
Part = Literal["validation", "test"]  # whose scores it may ask for, by the name of the part
PARTS: tuple[Part, ...] = ("validation", "test")


@dataclass(frozen=True)
class RoundPlan:
    """One round. `round` counts from 1; 0 is the round before training, with the statistics.

    asks: the names of the questions (`common/questions/`) whose answers are in its sum
    seconds: a site trains until its share of the time is over, this many; 0 for as long as its steps take
    weights: float32 (n,), the global model in the order of `Parameters`
    sites: R, the sites that hold shares, in the order of their names
    owners: `shared` and the modalities that are used in this round, and for each the sites of R that signed for it
        (`shared`: all), whether or not they are in U1. A modality that is not here is absent in every case, everywhere
    normaliser: modality -> (mean, sd), for those that are normalised by secure-summed statistics
    opened: the sums before that an inquiry's is built on, by `common.inquiries.inquiry.opened_key`
    """

    study: str
    run: str
    round: int
    attempt: int
    asks: tuple[str, ...]
    sites: tuple[str, ...]
    owners: Mapping[str, tuple[str, ...]]
    weights: NDArray[np.float32] = field(repr=False)
    normaliser: Normaliser = field(default_factory=dict, repr=False)
    seconds: float = 0.0
    opened: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that are summed in this round: "shared", and modalities with enough owners."""
        return tuple(self.owners)

    def used(self, study: Study) -> tuple[str, ...]:
        """The study's modalities that this round uses, in the study's order."""
        return tuple(name for name in study.names if name in self.owners)

    @property
    def scored(self) -> Part | Literal[""]:
        """The part of the cohort whose scores the plan asks for; "" for none."""
        return scored_by(self.asks)

    @cached_property
    def model(self) -> bytes:
        """Digest of the network that an answer is made with: weights and normaliser."""
        normaliser = [part.tobytes() for _, pair in sorted(self.normaliser.items()) for part in pair]
        return encoding.digest("model", self.weights.astype("<f4").tobytes(), *normaliser)

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
            "statistics": STATISTICS in self.asks,
            "train": UPDATE in self.asks,
            "evaluate": self.scored,
            "seconds": self.seconds,
            "sites": list(self.sites),
            "owners": [[group, list(sites)] for group, sites in self.owners.items()],
            "normaliser": {name: [list(mean), list(sd)] for name, (mean, sd) in self.normaliser.items()},
        }
        if self.asks != asks_of(head["statistics"], head["train"], head["evaluate"]):
            head["asks"] = list(self.asks)
        if self.opened:
            head["opened"] = {key: value.tolist() for key, value in self.opened.items()}
        text = json.dumps(head, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode() + b"\0")
        digest.update(np.ascontiguousarray(self.weights, dtype="<f4").data)
        return digest.digest()


def scored_by(asks: Collection[str]) -> Part | Literal[""]:
    """Return the part of the cohort whose scores are among these names of questions; "" for none."""
    return next((part for part in PARTS if part in asks), "")


def asks_of(statistics: bool, train: bool, evaluate: Part | Literal[""]) -> tuple[str, ...]:
    """Return the names of what these three ask for, by which plans of protocol 4 say it."""
    said = ((STATISTICS, statistics), (UPDATE, train), (evaluate, evaluate))
    return tuple(name for name, is_asked in said if is_asked)


@dataclass(frozen=True)
class Declaration:
    """What a site signs for, each in the order of names: modalities, and parts of the cohort that it can fill.

    waits: 1 where it waits for lost sites, by its `policy.without_privacy.lost_site`; 2 where it does not and knows of
        a site that does
    """

    modalities: tuple[str, ...]
    parts: tuple[str, ...]
    waits: int = 1


def threshold_of(study: Study, sites: int) -> int:
    """t for `sites` holders of shares: the study's, or the smallest with 2t > |R| + c and t >= c + 2."""
    c = study.secure_sum.colluding
    smallest = smallest_threshold(sites, c)
    chosen = study.secure_sum.threshold or smallest
    if chosen > sites:
        if study.secure_sum.threshold and smallest <= sites:
            raise StudyError(
                f"secure_sum.threshold: {chosen}, but there are {sites} sites. Invite more, lower it to {smallest} or "
                "more, or leave the key out."
            )
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
