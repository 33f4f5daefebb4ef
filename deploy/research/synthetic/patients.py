"""The patients of one hospital as the generator knows them: label, latents, and which modalities they have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.research.synthetic.people import Person, people
from deploy.research.synthetic.plan import SitePlan
from deploy.research.synthetic.strength import KINDS, Kind, Strength

UNLABELLED = 0.025  # share of patients whose outcome nobody wrote down


@dataclass(frozen=True)
class Patients:
    """One hospital's patients, in the order of its records.csv. Arrays have one entry a patient."""

    people: list[Person]
    label: NDArray[np.int64]  # 0 stable, 1 deteriorated
    severity: NDArray[np.float64]  # from -1 to 1, below 0 where stable
    labelled: NDArray[np.bool_]
    latent: dict[Kind, NDArray[np.float64]]
    present: dict[Kind, NDArray[np.bool_]]

    def __len__(self) -> int:
        return len(self.people)

    def __repr__(self) -> str:
        return f"Patients({len(self)})"


def generator(seed: int, site: int, purpose: str) -> np.random.Generator:
    """A stream of its own for each purpose at each hospital, so that one drawing more does not move another."""
    return np.random.default_rng(np.random.SeedSequence([seed, site, *purpose.encode()]))


def patients(plan: SitePlan, strength: Strength, seed: int, site: int) -> Patients:
    """Draw one hospital's patients. The number of labels of each class is exact, their order random."""
    rng = generator(seed, site, "patients")
    count = plan.patients
    label = rng.permutation((np.arange(count) < round(plan.prevalence * count)).astype(np.int64))
    latent = {kind: (label - 0.5) * strength.d(kind) + rng.standard_normal(count) for kind in KINDS}
    return Patients(
        people=people(generator(seed, site, "people"), count, plan.dialect),
        label=label,
        severity=label - 0.5 + generator(seed, site, "severity").uniform(-0.5, 0.5, count),
        labelled=_share(rng, count, 1 - UNLABELLED),
        latent=latent,
        present=_presence(rng, plan),
    )


def _presence(rng: np.random.Generator, plan: SitePlan) -> dict[Kind, NDArray[np.bool_]]:
    present = {kind: _share(rng, plan.patients, plan.present[kind]) for kind in KINDS}
    nothing = ~np.any([*present.values()], axis=0)
    present["record"] |= nothing  # every patient was seen by somebody
    return present


def _share(rng: np.random.Generator, count: int, share: float) -> NDArray[np.bool_]:
    """True for exactly that share of the patients, at random places."""
    return rng.permutation(np.arange(count) < round(share * count))
