"""Each patient's own draws, the same whoever else is there: what a private sum moves by is then one patient's doing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from client.training import clipped_sum as clipped_sum_module
from client.training import gradient as gradient_module
from client.training import slots as slots_module
from client.training.gradient import Clipping, NoisyGradient
from client.training.rows import Failed
from client.training.slots import SlotClipper
from common.models.batch import Batch
from common.models.network import MultimodalNetwork
from common.privacy.plan import PrivacyPlan
from common.study import Study

PLAN = PrivacyPlan(
    noise_multiplier=1.0,
    sample_rate=0.9,
    expected_batch_size=1.0,
    max_grad_norm=1.0,
    steps_per_round=1,
    evaluation_noise_multiplier=1.0,
    statistics_noise_multiplier=1.0,
    delta=1e-5,
    epsilon=8.0,
)


@dataclass
class Draws:
    """The draws of some of `most` patients: in the sample or not, which modalities are hidden from whom, and each one's
    place among the slots."""

    most: int
    seed: int
    patients: Sequence[int] = ()
    _sampled: list[int] = field(default_factory=list)

    @property
    def _random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def sample(self, count: int, rate: float) -> NDArray[np.int64]:
        assert count == len(self.patients)
        chosen = self._random.random(self.most) < rate
        here = [place for place, patient in enumerate(self.patients) if chosen[patient]]
        self._sampled = [self.patients[place] for place in here]
        return np.array(here, dtype=np.int64)

    def uniform(self, rows: int, columns: int) -> NDArray[np.float64]:
        assert rows == len(self._sampled)
        return np.random.default_rng([self.seed, 1]).random((self.most, columns))[self._sampled]

    def places(self, rows: int, among: int) -> NDArray[np.int64]:
        """Of the sampled, in their order."""
        assert rows == len(self._sampled)
        return np.random.default_rng([self.seed, 2]).integers(among, size=self.most)[self._sampled]

    @contextmanager
    def given(self, patients: Sequence[int]) -> Iterator[None]:
        """Within this context these patients' draws are what training draws, and no noise is added."""
        self.patients = patients
        with (
            patch.object(gradient_module, "poisson_sample", self.sample),
            patch.object(gradient_module, "uniform", self.uniform),
            patch.object(slots_module, "places", self.places),
            patch.object(gradient_module, "noisy", lambda values, sd: values),
        ):
            yield


def clipped_step(
    network: MultimodalNetwork,
    everyone: Batch,
    patients: Sequence[int],
    study: Study,
    draws: Draws,
    clipping: Clipping | Literal["slots"] = "auto",
    failed: Failed | None = None,
) -> NDArray[np.float64]:
    """The sum that a private step adds noise to, over these of all patients, in units of the bound.

    `slots`: these, also with crafted weights that make `auto` take the loop, for rounding tells the two apart.
    """
    wish: Clipping = "auto" if clipping == "slots" else clipping
    with patch.object(clipped_sum_module, "_as_the_loop", lambda *_: True) if clipping == "slots" else nullcontext():
        source = NoisyGradient(network, everyone.rows(patients), study, PLAN, wish, failed)
    assert clipping != "slots" or isinstance(source._clipper, SlotClipper)
    try:
        with draws.given(patients):
            return source.next().double().numpy()
    finally:
        source.close()
