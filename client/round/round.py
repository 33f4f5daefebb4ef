"""One round at this site, top to bottom: check, charge, work, and hand over what may be summed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from client.data.cohort import Cohort
from client.data.split import PARTS
from client.data.statistics import statistic_sums
from client.round import clock
from client.round.charges import certified, charge
from client.round.failures import answered, clamped, fitting, of_patients
from client.round.limits import require_honest_normaliser, require_honest_weights
from client.round.session import Site
from client.training.evaluate import evaluate, noised
from client.training.gradient import Clipping
from client.training.local import train_locally
from client.training.update import update_of
from common.errors import RunError
from common.models.batch import Batch
from common.models.network import set_normaliser, use_modalities
from common.parameters import load
from common.plan import Declaration, RoundPlan, layout_of, trained_groups
from common.privacy.mechanism import noisy
from common.scores import score_segments
from common.statistics import patient_sensitivity, statistic_segments
from common.summand import Layout, Summand

Values = NDArray[Any] | tuple[NDArray[Any], float]


@dataclass(frozen=True)
class Worked:
    """A round's work at one site: what goes into the sum, by the plan's layout, and what may be said beside it."""

    summand: Summand = field(repr=False)
    layout: Layout
    steps: int
    epsilon: float
    held_out_epsilon: float


def work(plan: RoundPlan, site: Site, signed: Declaration | None = None, smallest: int = 1) -> Worked:
    """Do what the plan asks with this site's cases and return what goes into the sum.

    signed: what this site signed for, of it the parts that are counted, and whether any site of the sum waits for lost
        ones; None: everything that it has, and none waits
    smallest: without privacy, the fewest known values with which a column is in the statistics, and the fewest patients
        whose training is handed over

    Everything that could refuse comes first, then the ledger is charged, and only then is any case touched: a crash
    must never make a round free.
    """
    layout = layout_of(plan, site.study, site.parameters, site.privacy)
    _require(plan, site)
    signed = Declaration(site.declared, PARTS, waits=False) if signed is None else signed
    _ready(plan, site)
    charge(plan, site)
    round_ = _Round(plan, site, layout, signed, 1 if site.privacy else smallest)
    values: dict[str, Values] = {}
    steps = 0
    if plan.statistics:
        values |= answered(site, plan, "statistics", round_.statistics, round_.no_statistics)
    if plan.evaluate:
        values |= answered(site, plan, "scores", round_.scores, round_.no_scores)
    if plan.train:
        updates, steps = answered(site, plan, "training", round_.updates, round_.no_updates)
        values |= updates
    spent = certified(site)
    return Worked(layout.summand(clamped(values, layout) if site.privacy else values), layout, steps, *spent)


def _ready(plan: RoundPlan, site: Site) -> None:
    """The network as the plan has it: no patient decides whether it can be so."""
    load(site.network, plan.weights)
    set_normaliser(site.network, dict(plan.normaliser))
    use_modalities(site.network, plan.used(site.study))


def rounding(plan: RoundPlan, site: Site) -> tuple[int, ...]:
    """The seed of rounding: the study's, the site and the round; apart from noise and masks, and no secret.

    Not the number of the sum: a repeated attempt must round alike, so that its sum shows nothing that the first did
    not, and a resumed run ends in the same weights.
    """
    name = int.from_bytes(hashlib.sha256(site.name.encode()).digest()[:8], "big")
    return site.study.seed, name, plan.round


def _require(plan: RoundPlan, site: Site) -> None:
    if plan.study != site.study.digest:
        raise RunError("The plan is of another study than the one approved here.")
    if plan.train and not 1 <= plan.round <= site.study.rounds:
        raise RunError("The plan trains in a round that the study does not have.")
    if plan.weights.size != site.parameters.length:
        raise RunError("The plan's weights do not fit the study's network.")
    require_honest_weights(plan, site.study)
    require_honest_normaliser(plan, site.study)
    if not set(plan.groups) <= set(site.parameters.groups):
        raise RunError("The plan trains a group of parameters that the study's network does not have.")
    site.refresh()
    _ = site.cohort, site.device  # before anything is charged: a wrong file must cost nothing


@dataclass(frozen=True)
class _Round:
    """The parts of a round's work, each with privacy also as it is without any patient: the noise alone."""

    plan: RoundPlan
    site: Site
    layout: Layout
    signed: Declaration
    smallest: int

    @property
    def _cohort(self) -> Cohort:
        names = [name for name in self.plan.used(self.site.study) if name in self.signed.modalities]
        return self.site.seen_with(names).filled(self.signed.parts)

    def statistics(self) -> Mapping[str, Values]:
        """Of the plan's groups only: a modality that few sites have is neither measured nor counted."""
        study, groups = self.site.study, self.plan.groups
        names = {segment.name for segment in statistic_segments(study, groups)}
        sums = statistic_sums(study, self._cohort, self.smallest)
        sums = {name: value for name, value in sums.items() if name in names}
        sums["present"] = sums["present"] * np.isin(study.names, groups)
        return fitting(self._noised(sums), self.layout)

    def no_statistics(self) -> Mapping[str, Values]:
        segments = statistic_segments(self.site.study, self.plan.groups)
        return self._noised({segment.name: np.zeros(segment.length) for segment in segments})

    def _noised(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        privacy = self.site.privacy
        if privacy is None:
            return dict(sums)
        sd = privacy.statistics_noise_multiplier * patient_sensitivity(self.site.study)
        return {name: noisy(value, sd) for name, value in sums.items()}

    def scores(self) -> Mapping[str, Values]:
        site, cohort = self.site, self._cohort
        part = cohort.validation if self.plan.evaluate == "validation" else cohort.test
        failed = of_patients(site, self.plan, "scores")
        sums = evaluate(site.network, part, site.study, site.device, failed=failed)
        return fitting(self._score_noised(sums) if site.privacy else sums, self.layout)

    def no_scores(self) -> Mapping[str, Values]:
        site = self.site
        assert site.privacy is not None
        none = {segment.name: np.zeros(segment.length) for segment in score_segments(site.study)}
        return self._score_noised(none)

    def _score_noised(self, sums: Mapping[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        """With the noise that the part's own account is charged for."""
        site = self.site
        assert site.privacy is not None
        multiplier = site.privacy.evaluation_of(self.plan.evaluate).noise_multiplier
        return noised(dict(sums), site.study, multiplier)

    def updates(self) -> tuple[Mapping[str, Values], int]:
        """Train on this site's training cases; every group's update weighted, by cases or (private) by one."""
        site = self.site
        if site.privacy is not None:
            _ready(self.plan, site)  # a score that failed may have left it in any state
        # Where a clock stops is where private patients' work took it: the coordinator must not choose the moment.
        asked = None if site.privacy else self.plan.seconds or None
        stop = clock.deadline(asked, site.policy.round_seconds)
        steps = self._train(self._cohort.train, site.device, site.folder.file.clipping, stop)
        exact = self.signed.waits and site.privacy is None
        if exact and len(self._cohort.train):
            clock.require_all_steps(site.study, steps)
        if site.privacy is None:
            clock.require_enough(site.study, steps, self.smallest)
        said = site.study.training.local_steps if exact else clock.steps_said(site.name, site.study, steps)
        return self._moved(self._cohort.train), said

    def no_updates(self) -> tuple[Mapping[str, Values], int]:
        """Every step's noise, as a site without patients takes it."""
        _ready(self.plan, self.site)
        nobody = self.site.cohort.train.rows([])
        steps = self._train(nobody, torch.device("cpu"), "loop", None)
        return self._moved(nobody), steps

    def _train(self, train: Batch, device: torch.device, clipping: Clipping, stop: Callable[[], bool] | None) -> int:
        site = self.site
        return train_locally(
            site.network,
            train,
            site.study,
            self.plan.round,
            site.privacy,
            site=site.name,
            device=device,
            clipping=clipping,
            stop=stop,
            progress=lambda done, total: site.progress("training", done, total),
            failed=of_patients(site, self.plan, "training"),
        ).steps_done

    def _moved(self, train: Batch) -> Mapping[str, Values]:
        plan, site = self.plan, self.site
        weights = _group_weights(site, train, self.signed.modalities)
        groups = trained_groups(plan, site.parameters)
        owned = tuple(group for group in groups if weights[group] > 0)
        bound = site.study.secure_sum.update_bound
        updates = update_of(site.network, plan.weights, site.parameters, owned, bound)
        values: dict[str, Values] = {}
        for group in groups:
            values[f"weight/{group}"] = np.array([weights[group]])
            values[f"update/{group}"] = updates[group], weights[group]
        return fitting(values, self.layout)


def _group_weights(site: Site, train: Batch, signed: Collection[str]) -> dict[str, float]:
    """Cases that can teach a group. With privacy 1 for whoever signed: a private count must not be a weight."""
    private = site.privacy is not None
    weights = {"shared": 1.0 if private else float(len(train))}
    for column, name in enumerate(site.study.names):
        owner = name in signed
        cases = float(train.present[:, column].sum()) if len(train) else 0.0
        weights[name] = (1.0 if private else cases) if owner else 0.0
    limit = float(site.study.secure_sum.max_cases)
    return {name: min(weight, limit) for name, weight in weights.items()}
