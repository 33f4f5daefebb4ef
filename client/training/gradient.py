"""Where a training step's gradient comes from: a noisy clipped sum, or the mean of a seeded minibatch."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from client.training.clipped_sum import choose_backend, clipper
from client.training.hooks import GIVEN_UP
from client.training.rows import Failed, Loss, trainable
from common.models.batch import Batch
from common.models.modality_dropout import drop_modalities
from common.privacy.mechanism import noisy, poisson_sample, uniform
from common.privacy.plan import PrivacyPlan
from common.scores import loss_rows
from common.study import Study

log = logging.getLogger("wardround.site")

Clipping = Literal["auto", "loop", "opacus"]


class Gradient(Protocol):
    """One flat gradient a step, over the trainable parameters in the order of `named_parameters`."""

    def next(self) -> Tensor: ...
    def close(self) -> None: ...


class NoisyGradient:
    """DP-SGD's gradient. Adding or removing a patient is hidden as the plan says, from whoever sees every one.

    Modality dropout is drawn here from the operating system too. Drawn from a known seed it would go by a patient's
    place in the sample, and a patient who is taken out would shift the masks of all others: the sum would then move
    by far more than one clipped gradient.

    failed: is told of a patient whose gradient fails, and who then counts as zero
    """

    def __init__(
        self,
        network: nn.Module,
        train: Batch,
        study: Study,
        plan: PrivacyPlan,
        clipping: Clipping = "auto",
        failed: Failed | None = None,
    ) -> None:
        self._train, self._plan = train, plan
        self._hidden = study.fusion.modality_dropout
        self._device = _device(network)
        shape = train.to(self._device)
        backend = choose_backend(network, clipping, shape)
        if backend == "opacus":
            log.warning("clipping: opacus takes patients together. %s", GIVEN_UP)
        self._clipper = clipper(network, partial(loss_rows, study), backend, shape, failed)

    def next(self) -> Tensor:
        return self._of(self._train.rows(torch.from_numpy(poisson_sample(len(self._train), self._plan.sample_rate))))

    def of_nobody(self) -> Tensor:
        """What `next` gives where no patient is in the step: the noise alone."""
        return self._of(self._train.rows([]))

    def _of(self, sample: Batch) -> Tensor:
        plan = self._plan
        present = drop_modalities(sample.present, self._hidden, torch.from_numpy(uniform(*sample.present.shape)))
        shown = Batch(sample.inputs, present, sample.target).to(self._device)
        total = self._clipper.sum(shown, plan.max_grad_norm).cpu().numpy()
        released = noisy(total, plan.noise_multiplier * plan.max_grad_norm)
        return torch.from_numpy(released / plan.expected_batch_size).to(self._device, torch.float32)

    def close(self) -> None:
        self._clipper.close()


class MeanGradient:
    """The mean gradient of seeded minibatches: bit for bit the same for the same study, site and round."""

    def __init__(self, network: nn.Module, train: Batch, study: Study, site: str, round_number: int) -> None:
        self._network, self._train = network, train
        self._loss: Loss = partial(loss_rows, study)
        self._hidden = study.fusion.modality_dropout
        self._parameters = trainable(network)
        self._random = _generator(study.seed, site, round_number)
        self._batches = _minibatches(len(train), study.training.batch_size, self._random)

    def next(self) -> Tensor:
        rows = self._train.rows(torch.from_numpy(next(self._batches)))
        present = drop_modalities(rows.present, self._hidden, torch.from_numpy(self._random.random(rows.present.shape)))
        shown = Batch(rows.inputs, present, rows.target).to(_device(self._network))
        loss = self._loss(self._network(shown.inputs, shown.present), shown.target).mean()
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([part.reshape(-1) for part in found])

    def close(self) -> None:
        pass


def _generator(seed: int, site: str, round_number: int) -> np.random.Generator:
    name = int.from_bytes(hashlib.sha256(site.encode()).digest()[:8], "big")
    return np.random.default_rng(np.random.SeedSequence([seed, name, round_number]))


def _minibatches(rows: int, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Indices without replacement, epoch after epoch; the last batch of an epoch may be smaller."""
    while rows:
        order = random.permutation(rows)
        yield from (order[start : start + size] for start in range(0, rows, size))


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
