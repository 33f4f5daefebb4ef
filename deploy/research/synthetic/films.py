"""Made-up chest films: the anatomy that all share, an opacity that the latent brightens, and a scanner's look."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deploy.research.synthetic.plan import Scanner
from deploy.research.synthetic.strength import Strength

Film = NDArray[np.float64]
PLACE = (0.28, 0.42)  # of the opacity: down and to the right of the centre, in half film widths
SIZE = 0.27  # its standard deviation, on the same scale
RANGE = 2.8  # latents beyond ± this look alike
CORTEX = 0.93  # brightness of bone and heart, clearly above any opacity, so that percentiles do not follow the latent


@lru_cache(maxsize=8)
def _grid(rows: int, columns: int) -> tuple[Film, Film]:
    """Row and column positions in [-1, 1]."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return y, x


def film(rng: np.random.Generator, latent: float, shape: tuple[int, int], strength: Strength) -> Film:
    """Brightness, of `shape` (rows, columns), in [0, 1], air 0 and bone near 1, of one patient."""
    y, x = _moved(rng, *_grid(*shape))
    body = _soft(1.0 - (x / 0.95) ** 2 - (y / 1.25) ** 2, 0.08)
    lungs = np.maximum(_lung(y, x, -0.42), _lung(y, x, 0.42))
    brightness = 0.70 * body - (0.50 + strength.anatomy * rng.standard_normal()) * lungs * body
    brightness = np.maximum(brightness, CORTEX * _heart(y, x))
    brightness += 0.03 * lungs * np.cos(2 * np.pi * (2.6 * y + 0.9 * x**2) + rng.uniform(0, 2 * np.pi))  # ribs
    return np.asarray(np.clip(brightness + _opacity(rng, latent, y, x, strength) * lungs, 0, 1))


def exposed(rng: np.random.Generator, brightness: Film, scanner: Scanner) -> NDArray[np.uint16]:
    """What the scanner stores: 12-bit values, bone white. A film's dose varies a little, as in life."""
    noisy = brightness + scanner.noise * rng.standard_normal(brightness.shape)
    dose = 1 + 0.06 * rng.standard_normal()
    value = scanner.black + (scanner.white - scanner.black) * dose * np.clip(noisy, 0, 1) ** scanner.gamma
    return np.clip(np.rint(value), 0, 4095).astype(np.uint16)


def _opacity(rng: np.random.Generator, latent: float, y: Film, x: Film, strength: Strength) -> Film:
    """A hazy patch with a coarse texture: brighter and larger, the larger the latent is."""
    grade = (np.clip(latent, -RANGE, RANGE) + RANGE) / (2 * RANGE)
    down, right = np.array(PLACE) + 0.03 * rng.standard_normal(2)
    size = SIZE * (0.8 + 0.3 * grade)
    patch = np.exp(-((y - down) ** 2 + (x - right) ** 2) / (2 * size**2))
    texture = 1 + 0.15 * np.cos(2 * np.pi * 3.5 * y + rng.uniform(0, 7)) * np.cos(2 * np.pi * 3.5 * x)
    return np.asarray(strength.opacity * grade * patch * texture)


def _moved(rng: np.random.Generator, y: Film, x: Film) -> tuple[Film, Film]:
    """The grid as this patient stands before the detector: a little aside, a little larger or smaller."""
    down, right, larger = 0.02 * rng.standard_normal(3)
    return (y - down) * (1 + larger), (x - right) * (1 + larger)


def _lung(y: Film, x: Film, side: float) -> Film:
    return _soft(1.0 - ((x - side) / 0.33) ** 2 - ((y - 0.02) / 0.72) ** 2, 0.12)


def _heart(y: Film, x: Film) -> Film:
    """Spine and heart in the middle, and the diaphragm's dome below."""
    spine = _soft(0.10 - np.abs(x), 0.03)
    heart = _soft(1.0 - ((x - 0.04) / 0.20) ** 2 - ((y - 0.35) / 0.30) ** 2, 0.15)
    dome = _soft(y - 0.78 + 0.1 * np.cos(4 * x), 0.04) * _soft(0.9 - np.abs(x), 0.04)
    return np.maximum(np.maximum(spine, heart), dome)


def _soft(inside: Film, width: float) -> Film:
    """1 where `inside` is well above zero, 0 well below: an edge without stairs."""
    return np.asarray(1 / (1 + np.exp(-np.clip(inside / width, -30, 30))))
