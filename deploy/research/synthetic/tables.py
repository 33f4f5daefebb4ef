"""The cells of records.csv and genes.csv, as columns of text in a hospital's own words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.research.synthetic.dialect import CATEGORIES
from deploy.research.synthetic.patients import Patients
from deploy.research.synthetic.plan import SitePlan
from deploy.research.synthetic.strength import Strength

GAPS = 0.05  # share of single cells that nobody filled in


@dataclass(frozen=True)
class Sign:
    """A number at the bedside: its mean and standard deviation, limits, decimals, and which way illness moves it."""

    mean: float
    sd: float
    low: float
    high: float
    decimals: int
    direction: int


SIGNS = {
    "temperature": Sign(37.7, 0.7, 34.0, 42.0, 1, 1),
    "respiratory_rate": Sign(21.0, 4.0, 6.0, 60.0, 0, 1),
    "saturation": Sign(93.0, 3.0, 60.0, 100.0, 0, -1),
    "leukocytes": Sign(10.5, 3.0, 0.5, 60.0, 1, 1),
}
AGE = Sign(63.0, 14.0, 0.0, 120.0, 0, 0)
BREATHLESSNESS = (-0.6, 0.7)  # where the latent passes from none to exertion to rest

PATHWAY = ("IL6", "CXCL8", "IL1B", "TNFAIP3", "SOCS3", "NFKBIA", "ICAM1", "CCL2", "PTGS2", "BIRC3")
OTHERS = (
    *("ACTB", "GAPDH", "B2M", "HPRT1", "TBP", "RPLP0", "PPIA", "UBC", "YWHAZ", "SDHA", "HMBS", "GUSB"),
    *("TFRC", "PGK1", "EEF1A1", "RPS18", "TUBB", "LDHA", "ALDOA", "VIM", "CANX", "HSPA8"),
)
GENES = tuple(sorted((*PATHWAY, *OTHERS)))
GENE_MEAN = {gene: round(6.0 + 5.0 * ((7 * index) % len(GENES)) / len(GENES), 2) for index, gene in enumerate(GENES)}
GENE_SD = 1.2  # log2 units
BATCH = 0.15  # a laboratory's own shift of a gene, in standard deviations

Cells = NDArray[np.object_]


def record_columns(
    rng: np.random.Generator, plan: SitePlan, patients: Patients, strength: Strength
) -> dict[str, list[str]]:
    """The study's columns of records.csv, each as this hospital's text; a patient without a record has gaps only."""
    x = patients.latent["record"]
    columns = {"age": _numbers(np.array([person.age for person in patients.people], dtype=float), AGE)}
    columns["sex"] = _words(plan, "sex", np.array([0 if person.female else 1 for person in patients.people]))
    for name, sign in SIGNS.items():
        carried = _carry(rng, x, strength.record_loading) * sign.direction
        columns[name] = _numbers(sign.mean + sign.sd * carried, sign)
    level = np.digitize(_carry(rng, x, strength.record_loading), BREATHLESSNESS)
    columns["breathlessness"] = _words(plan, "breathlessness", level)
    columns["smoking"] = _words(plan, "smoking", rng.choice(3, size=len(patients), p=[0.5, 0.3, 0.2]))
    empty = {name: ~patients.present["record"] | (rng.random(len(patients)) < GAPS) for name in columns}
    return {name: _gaps(cells, empty[name], plan.dialect.gap) for name, cells in columns.items()}


def gene_columns(
    rng: np.random.Generator, plan: SitePlan, patients: Patients, strength: Strength
) -> dict[str, list[str]]:
    """log2 expression of every gene, as text. The pathway's genes share the latent, the others are noise."""
    x = patients.latent["genes"]
    columns = {}
    for gene in GENES:
        loading = strength.gene_loading if gene in PATHWAY else 0.0
        value = _carry(rng, x, loading) + BATCH * rng.standard_normal()
        cells: Cells = np.array([f"{number:.3f}" for number in GENE_MEAN[gene] + GENE_SD * value], dtype=object)
        columns[gene] = _gaps(cells, rng.random(len(patients)) < GAPS, plan.dialect.gap)
    return columns


def _carry(rng: np.random.Generator, x: NDArray[np.float64], loading: float) -> NDArray[np.float64]:
    """A standardised measurement that correlates with the latent by `loading` within a class."""
    noise = rng.standard_normal(len(x))
    return np.asarray(loading * x + np.sqrt(1 - loading**2) * noise)


def _numbers(values: NDArray[np.float64], sign: Sign) -> Cells:
    kept = np.clip(values, sign.low, sign.high)
    return np.array([f"{value:.{sign.decimals}f}" for value in kept], dtype=object)


def _words(plan: SitePlan, column: str, level: NDArray[np.int64]) -> Cells:
    words = plan.dialect.words[column]
    assert len(words) == len(CATEGORIES[column])
    return np.array([words[int(index)] for index in level], dtype=object)


def _gaps(cells: Cells, empty: NDArray[np.bool_], mark: str) -> list[str]:
    return [mark if gap else str(cell) for cell, gap in zip(cells, empty, strict=True)]
