"""This site's update: its training cases' training, group by group. See `common/questions/update.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import ClassVar

import numpy as np
import torch

from client.round import clock
from client.round.answers.answer import Answered, Asking, Values, ready
from client.round.failures import of_patients
from client.round.session import Site
from client.training.gradient import Clipping
from client.training.local import train_locally
from client.training.update import update_of
from common.models.batch import Batch
from common.questions.update import trained_groups
from common.study import SHARED


class UpdateAnswer:
    """Every group's update, weighted by cases or (private) by one. With privacy the noise is in the steps."""

    moves: ClassVar[bool] = True

    def of_patients(self, asking: Asking) -> Answered:
        site, plan = asking.site, asking.plan
        if site.privacy is not None:
            ready(plan, site)  # a score that failed may have left it in any state
        # Where a clock stops is where private patients' work took it: the coordinator must not choose the moment.
        asked = None if site.privacy else plan.seconds or None
        stop = clock.deadline(asked, site.policy.round_seconds)
        train = asking.cohort.train
        steps = _train(asking, train, site.device, site.folder.file.clipping, stop)
        exact = asking.signed.waits and site.privacy is None
        if exact and len(train):
            clock.require_all_steps(site.study, steps)
        if site.privacy is None:
            clock.require_enough(site.study, steps, asking.smallest)
        said = site.study.training.local_steps if exact else clock.steps_said(site.name, site.study, steps)
        return Answered(_moved(asking, train), said)

    def of_nobody(self, asking: Asking) -> Answered:
        """Every step's noise, as a site without patients takes it."""
        ready(asking.plan, asking.site)
        nobody = asking.site.cohort.train.rows([])
        steps = _train(asking, nobody, torch.device("cpu"), "loop", None)
        return Answered(_moved(asking, nobody), steps)


def _train(
    asking: Asking, train: Batch, device: torch.device, clipping: Clipping, stop: Callable[[], bool] | None
) -> int:
    site = asking.site
    return train_locally(
        site.network,
        train,
        site.study,
        asking.plan.round,
        site.privacy,
        site=site.name,
        device=device,
        clipping=clipping,
        stop=stop,
        progress=lambda done, total: site.progress("training", done, total),
        failed=of_patients(site, asking.plan, asking.question.kind),
    ).steps_done


def _moved(asking: Asking, train: Batch) -> Mapping[str, Values]:
    plan, site = asking.plan, asking.site
    weights = _group_weights(site, train, asking.signed.modalities)
    groups = trained_groups(plan, site.parameters)
    owned = tuple(group for group in groups if weights[group] > 0)
    updates = update_of(site.network, plan.weights, site.parameters, owned, site.study.secure_sum.update_bound)
    values: dict[str, Values] = {}
    for group in groups:
        values[f"weight/{group}"] = np.array([weights[group]])
        values[f"update/{group}"] = updates[group], weights[group]
    return values


def _group_weights(site: Site, train: Batch, signed: Collection[str]) -> dict[str, float]:
    """Cases that can teach a group. With privacy 1 for whoever signed: a private count must not be a weight."""
    private = site.privacy is not None
    weights = {SHARED: 1.0 if private else float(len(train))}
    for column, name in enumerate(site.study.names):
        owner = name in signed
        cases = float(train.present[:, column].sum()) if len(train) else 0.0
        weights[name] = (1.0 if private else cases) if owner else 0.0
    limit = float(site.study.secure_sum.max_cases)
    return {name: min(weight, limit) for name, weight in weights.items()}
