"""Local training: a round's steps on this site's training cases, with differential privacy or without.

Each step asks for a gradient, adds FedProx's pull and the weight decay, and moves the weights. Where the gradient comes
from is all that privacy changes:

    NoisyGradient  a Poisson sample of the patients, the sum of their clipped gradients, Gaussian noise, divided by the
                   study's expected batch size: DP-SGD. Everything drawn at random comes from the operating system
    MeanGradient   seeded minibatches without replacement; the same study, site and round give the same weights

What follows the gradient depends on no patient, so the guarantee of the noisy sum holds for the weights. Each round
starts a fresh optimiser: a momentum would otherwise carry one round's weights into the next.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from client.training.gradient import Clipping, Gradient, MeanGradient, NoisyGradient
from client.training.rows import Failed, trainable
from client.training.subnormal import flushed_to_zero
from common.models.batch import Batch
from common.privacy.plan import PrivacyPlan
from common.study import Study, Training

Progress = Callable[[int, int], None]  # steps done, steps in all


@dataclass(frozen=True)
class Trained:
    """What a round's training did. `cases` is a private number: it may leave only in a sum."""

    steps_done: int
    cases: int


def train_locally(
    network: nn.Module,
    train: Batch,
    study: Study,
    round_number: int,
    privacy: PrivacyPlan | None,
    *,
    site: str,
    device: torch.device | str = "cpu",
    clipping: Clipping = "auto",
    stop: Callable[[], bool] | None = None,
    progress: Progress | None = None,
    failed: Failed | None = None,
) -> Trained:
    """Train `network` in place for the study's local steps, or until `stop()` says so between two steps.

    With privacy the steps after `stop()` are taken without patients: how many there were would show in the noise.
    `failed`, with privacy, is told of a patient whose gradient fails: that patient counts as zero.

    With privacy an empty cohort, and an empty sample, still take their noisy steps: that there was nobody to learn
    from must not show. Without privacy an empty cohort takes none. On the CPU torch is set to one thread for the
    process, because sums over several threads are not the same from one run to the next. With privacy subnormal
    numbers are flushed to zero: they would show in the time.
    """
    if torch.device(device).type == "cpu":
        torch.set_num_threads(1)
    network.to(device).train()
    steps = study.training.local_steps if len(train) or privacy else 0
    mover = _Mover(network, study.training)
    done = 0
    with ExitStack() as stack:
        if privacy:
            stack.enter_context(flushed_to_zero())  # before the clipper is made: that tries the network too
        noisy = NoisyGradient(network, train, study, privacy, clipping, failed) if privacy else None
        source: Gradient = noisy or MeanGradient(network, train, study, site, round_number)
        gradient = stack.enter_context(closing(source))
        while done < steps and not (stop is not None and stop()):
            mover.step(gradient.next())
            done += 1
            if progress is not None:
                progress(done, steps)
        if noisy is not None:
            for _ in range(done, steps):
                mover.step(noisy.of_nobody())
    return Trained(done, len(train))


class _Mover:
    """Adds FedProx's pull towards the round's first weights (Li et al. 2020), and steps the study's optimiser."""

    def __init__(self, network: nn.Module, training: Training) -> None:
        self._parameters = trainable(network)
        self._proximal = training.proximal
        self._start = [parameter.detach().clone() for parameter in self._parameters] if self._proximal else []
        self._sizes = [parameter.numel() for parameter in self._parameters]
        self._optimiser = _optimiser(self._parameters, training)

    def step(self, gradient: Tensor) -> None:
        parts = [
            part.view_as(own) for part, own in zip(torch.split(gradient, self._sizes), self._parameters, strict=True)
        ]
        if self._proximal:
            pulls = zip(parts, self._parameters, self._start, strict=True)
            parts = [part + self._proximal * (own.detach() - first) for part, own, first in pulls]
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.grad = part
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)


def _optimiser(parameters: list[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    if training.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=training.learning_rate, weight_decay=training.weight_decay)
    return torch.optim.SGD(
        parameters, lr=training.learning_rate, momentum=training.momentum, weight_decay=training.weight_decay
    )
