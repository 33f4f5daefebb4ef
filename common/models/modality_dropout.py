"""Modality dropout: in training, some of a row's modalities are hidden."""

from __future__ import annotations

import torch
from torch import Tensor


def drop_modalities(present: Tensor, probability: float, draws: Tensor) -> Tensor:
    """Modality dropout for training: each present modality of each row is hidden with `probability`.

    A row that would lose all of them keeps all. `draws`: numbers in [0, 1), on the CPU, of the shape of `present`,
    bool (B, M). They are drawn outside of the network, so that it is a function of its inputs alone and both ways of
    clipping see the same rows; and by the caller, because with privacy they must come from the operating system, else
    a patient's place in the sample would decide the masks of all others.
    """
    kept = present & (draws >= probability).to(present.device)
    return torch.where(kept.any(dim=1, keepdim=True), kept, present)
