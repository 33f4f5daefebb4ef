"""Noise and samples: their law, and that nobody's seed decides them."""

from __future__ import annotations

import inspect
import math
import random
import secrets

import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from scipy import stats

from common.errors import PrivacyError
from common.privacy import mechanism
from common.privacy.mechanism import gaussian, noisy, poisson_sample, uniform


def seed_everything() -> None:
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)


@pytest.mark.parametrize("sd", [0.01, 1.0, 250.0])
def test_noise_is_gaussian_with_the_sd_asked_for(sd: float) -> None:
    draws = gaussian(200_000, sd)
    assert draws.dtype == np.float64
    assert stats.kstest(draws / sd, "norm").pvalue > 1e-6
    assert draws.std() == pytest.approx(sd, rel=0.02)


def test_noise_reaches_its_tails() -> None:
    assert 4.0 < np.abs(gaussian(1_000_000, 1.0)).max() < 7.5


def test_equal_seeds_give_other_noise_and_other_samples() -> None:
    seed_everything()
    first = gaussian(64, 1.0), poisson_sample(256, 0.5), uniform(64)
    seed_everything()
    second = gaussian(64, 1.0), poisson_sample(256, 0.5), uniform(64)
    for one, two in zip(first, second, strict=True):
        assert not np.array_equal(one, two)


def test_seeded_generators_are_not_moved() -> None:
    seed_everything()
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    gaussian(1000, 1.0), poisson_sample(1000, 0.5)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("function", [gaussian, noisy, poisson_sample, uniform])
def test_there_is_no_way_to_hand_in_a_seed(function: object) -> None:
    names = set(inspect.signature(function).parameters)  # type: ignore[arg-type]
    assert names <= {"size", "sd", "values", "n", "rate", "shape"}
    assert not {"seed", "random", "default_rng", "manual_seed"} & set(dir(mechanism))


def test_the_stream_under_the_noise_is_chacha20() -> None:
    from randomgen import ChaCha

    key = secrets.randbits(256)
    cipher = Cipher(algorithms.ChaCha20(key.to_bytes(32, "little"), bytes(16)), mode=None).encryptor()
    expected = np.frombuffer(cipher.update(bytes(8 * 1024)), dtype="<u8")
    assert np.array_equal(ChaCha(key=key, rounds=20).random_raw(1024), expected)


def test_each_call_has_its_own_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[int] = []
    draw = secrets.randbits
    monkeypatch.setattr(secrets, "randbits", lambda bits: keys.append(draw(bits)) or keys[-1])
    for _ in range(50):
        gaussian(3, 1.0)
    assert len(set(keys)) == 50
    assert max(keys).bit_length() > 240


def test_noisy_values_lie_on_a_grid_that_hides_the_low_bits() -> None:
    values = np.random.default_rng(0).normal(size=4096) * 3
    sd = 0.75
    grid = 2.0 ** (math.floor(math.log2(sd)) - 20)
    out = noisy(values, sd)
    assert np.array_equal(out / grid, np.rint(out / grid))
    assert (out - values).std() == pytest.approx(sd, rel=0.1)
    assert abs((out - values).mean()) < 0.06


def test_noise_keeps_the_shape_and_the_values_given() -> None:
    values = np.ones((3, 5), dtype=np.float32)
    assert noisy(values, 1.0).shape == (3, 5)
    assert np.array_equal(values, np.ones((3, 5)))


@pytest.mark.parametrize("sd", [0.0, -1.0, math.inf, math.nan])
def test_noise_of_no_size_is_refused(sd: float) -> None:
    with pytest.raises(PrivacyError):
        gaussian(3, sd)
    with pytest.raises(PrivacyError):
        noisy(np.zeros(3), sd)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_every_patient_is_drawn_at_the_rate_and_independently(rate: float) -> None:
    n, times = 40, 4000
    drawn = np.zeros((times, n), dtype=bool)
    for step in range(times):
        drawn[step, poisson_sample(n, rate)] = True
    by_patient = drawn.sum(axis=0)
    assert stats.chisquare(by_patient, np.full(n, by_patient.mean())).pvalue > 1e-6
    assert abs(drawn.mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / drawn.size)
    sizes = drawn.sum(axis=1)
    assert sizes.var() == pytest.approx(n * rate * (1 - rate), rel=0.15)


def test_a_sample_is_ascending_and_may_be_empty_or_everyone() -> None:
    assert poisson_sample(0, 0.5).size == 0
    assert np.array_equal(poisson_sample(100, 1.0), np.arange(100))
    assert poisson_sample(1000, 1e-9).size == 0
    sample = poisson_sample(1000, 0.5)
    assert np.array_equal(sample, np.unique(sample))


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(PrivacyError):
        poisson_sample(10, rate)
