"""Privacy: how far one patient can move what is released, with weights that a hostile coordinator made.

`privacy.sensitivity_worst` is the largest movement of the clipped sum and of the score sums when one patient is taken
out, in units of what is charged for him, over 200 crafted networks and cohorts of 1 to 300. Each patient's own draws
(sample, modality dropout, place among the slots) are the same in both cohorts. Slots serve throughout, also where
`clipping: auto` would take the loop because rounding, with such weights, tells the two apart. Half of the networks are
switches: their weights add up exactly in the kernels of this machine that serve few rows and not in those that serve
more. The rest have weights that are huge, tiny, of all magnitudes at once, or a hair beside 1, with every encoder and
fusion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from client.training.evaluate import evaluate
from client.training.gradient import Clipping
from common.models.batch import Batch
from common.models.network import MultimodalNetwork, build_network
from common.scores import score_sensitivity
from common.study import Study
from tests.benchmarks.figure import Figure
from tests.support.switching import Switch, patients, switches, switching_study, turning_gradients, turning_scores
from tests.support.tied import Draws, clipped_step
from tests.support.tiny import cases_of, study_of

GROUP = "privacy"
NETWORKS = 200
LARGEST = 300  # rows
LOCAL = {"mode": "local", "epsilon": 1.0, "sample_rate": 0.9, "expected_batch_size": 1.0}
FUSIONS = ("mean", "weighted", "product", "concat", "attention")
SWITCHING = switching_study(privacy=LOCAL)
MIXED = [
    study_of(fusion={"kind": kind, "width": 8, "modality_dropout": 0.3}, privacy=LOCAL, task=task)
    for kind in FUSIONS
    for task in (
        {"kind": "binary", "classes": ["benign", "malignant"]},
        {"kind": "multiclass", "classes": ["a", "b", "c"]},
    )
]


@dataclass(frozen=True)
class Crafted:
    """A network, and the sizes of cohorts that it is tried on."""

    study: Study
    network: MultimodalNetwork
    everyone: Batch
    sizes: tuple[int, ...]


def measure() -> Iterator[Figure]:
    """One figure; and what `clipping: opacus` gives up, on the switches alone."""
    torch.set_num_threads(1)
    worst = {"clipped sum": 0.0, "score sums": 0.0}
    rows = 0
    for number, crafted in enumerate(networks()):
        for size in crafted.sizes:
            moved = movements(crafted, size, number, "slots")
            worst = {name: max(value, moved[name]) for name, value in worst.items()}
            rows += 2 * size
    shown = ", ".join(f"{name} {value:.6f}" for name, value in worst.items())
    yield Figure(
        "privacy.sensitivity_worst", max(worst.values()), "<= 1.0001", f"{NETWORKS} networks, {rows} rows; {shown}"
    )
    hooked = [
        movements(Crafted(SWITCHING, turning_gradients(SWITCHING, switch), *_of(switch)), switch.rows + 1, 0, "opacus")
        for switch in by_rows(0).values()
    ]
    most = max((moved["clipped sum"] for moved in hooked), default=None)
    yield Figure("privacy.sensitivity_opacus", most, None, "the clipped sum where a site wishes for clipping: opacus")


def networks() -> Iterator[Crafted]:
    """200 of them. Together their cohorts have every size from 1 to 300."""
    yield from (_switch(number) for number in range(NETWORKS // 2))
    yield from (_mixed(number) for number in range(NETWORKS // 2))


def _switch(number: int) -> Crafted:
    """Sizes: one beyond the switch, and three of all sizes from 1 to 300."""
    found = list(by_rows(number // 2).values())
    everyone = patients(SWITCHING, LARGEST, seed=number)
    sizes = tuple(number + 1 + 100 * part for part in range(3))
    if not found:
        return Crafted(SWITCHING, build_network(SWITCHING), everyone, sizes)
    switch = found[number % len(found)]
    turn = turning_gradients if number % 4 < 2 else turning_scores
    return Crafted(SWITCHING, turn(SWITCHING, switch), everyone, (switch.rows + 1, *sizes))


def by_rows(seed: int) -> dict[int, Switch]:
    """A switch for each number of rows at which this machine's kernels change."""
    return {switch.rows: switch for switch in switches(seed, most=20, tries=12)}


def _of(switch: Switch) -> tuple[Batch, tuple[int, ...]]:
    return patients(SWITCHING, LARGEST), (switch.rows + 1,)


def _mixed(number: int) -> Crafted:
    study = MIXED[number % len(MIXED)]
    network = build_network(study)
    random = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(_weights(number // len(MIXED), parameter.shape, random))
    return Crafted(study, network, cases_of(study, 40, seed=number, missing=0.2), (1 + number % 7, 8 + number % 32))


def _weights(kind: int, shape: torch.Size, random: torch.Generator) -> torch.Tensor:
    normal = torch.randn(shape, generator=random)
    match kind % 5:
        case 0:
            return normal * 2.0 ** torch.randint(-13, 13, shape, generator=random)
        case 1:
            return normal.clamp(-3, 3) * 3e3
        case 2:
            return normal * 1e-3
        case 3:
            return 1 + 2.0**-23 * normal.round()
        case _:
            return torch.where(normal > 0, 4096.0, -4096.0) + normal


def movements(crafted: Crafted, size: int, number: int, clipping: Clipping | Literal["slots"]) -> dict[str, float]:
    """How far one of `size` patients moves each kind of sum: the first of them, one in the middle, or the last."""
    everyone = list(range(size))
    out = (0, size // 2, size - 1)[number % 3] if clipping == "slots" else size - 1
    others = everyone[:out] + everyone[out + 1 :]
    study, draws = crafted.study, Draws(LARGEST, seed=number)
    sums = [
        clipped_step(crafted.network, crafted.everyone, chosen, study, draws, clipping) for chosen in (everyone, others)
    ]
    scores = [
        np.concatenate(list(evaluate(crafted.network, crafted.everyone.rows(chosen), study).values()))
        for chosen in (everyone, others)
    ]
    return {
        "clipped sum": float(np.linalg.norm(sums[0] - sums[1])),
        "score sums": float(np.linalg.norm(scores[0] - scores[1])) / score_sensitivity(study),
    }
