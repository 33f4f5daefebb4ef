"""How strong the planted signal is, and the arithmetic that says what a perfect reader could score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Kind = Literal["image", "record", "note", "genes"]
KINDS: tuple[Kind, ...] = ("image", "record", "note", "genes")


@dataclass(frozen=True)
class Strength:
    """Separations d of the four latents, one a modality, and how clearly the files carry them.

    In class y = ±1 a patient's latent of a modality is drawn from N(y·d/2, 1), on its own. Then

        AUC of the latent where it is present         Φ(d/√2)      the difference of two draws is N(d, 2)
        best score                                    d·x          the log likelihood ratio
        all modalities together                       d² = Σ dᵢ²   independent evidence adds up
        a share p present, the others scored 0        p²·Φ(d/√2) + 2p(1-p)·Φ(d/2) + (1-p)²/2

    (the last three terms: pairs with both, one and no latent). The classes overlap in the latent itself, and that is
    what limits the AUC; the carriers below give the latent away almost entirely, so that a small network learns it.
    """

    image: float = 1.18
    record: float = 0.80
    note: float = 1.50
    genes: float = 1.30
    record_loading: float = 0.88  # correlation of a sign of the record with the latent, within a class
    gene_loading: float = 0.85  # the same for a gene of the pathway
    phrase_slope: float = 3.5  # logistic slope of a symptom's presence in the latent
    opacity: float = 0.60  # brightness of the image's opacity at the latent's upper end, film white = 1
    anatomy: float = 0.02  # standard deviation of the lungs' own brightness, on the same scale

    def d(self, kind: Kind) -> float:
        return {"image": self.image, "record": self.record, "note": self.note, "genes": self.genes}[kind]

    def auc(self, kind: Kind, present: float = 1.0) -> float:
        """The AUC of a modality's latent over all patients, where the share `present` has it."""
        d, normal = self.d(kind), NormalDist()
        both, one = normal.cdf(d / math.sqrt(2)), normal.cdf(d / 2)
        return present**2 * both + 2 * present * (1 - present) * one + (1 - present) ** 2 / 2
