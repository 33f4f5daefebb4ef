"""What a site would add to the global model: the difference that its training made."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from common.models.network import MultimodalNetwork
from common.parameters import Parameters, flatten
from common.study import SHARED

_BLOCK = 1 << 18  # numbers that are float64 at a time: a whole vector of them would be several times the network


def update_of(
    network: MultimodalNetwork,
    before: NDArray[np.float32],
    parameters: Parameters,
    owned: Collection[str],
    bound: float,
) -> dict[str, NDArray[np.float32]]:
    """Group -> float32 change of its parameters since `before`, for every group; zeros where the site owns no cases.
    Together they are one vector of the network's size.

    Numbers that are not finite become 0, and the others are clipped to [-bound, bound]: the fixed point after this
    refuses nothing, so that no refusal can tell of a patient. The shared group is everyone's.
    """
    limit = np.float32(bound)
    if float(limit) > bound:  # a bound such as 0.1 is not a float32: the nearest may lie outside
        limit = np.nextafter(limit, np.float32(0))
    change = flatten(network)
    for start in range(0, change.size, _BLOCK):
        part = change[start : start + _BLOCK]
        wide = np.subtract(part, before[start : start + _BLOCK], dtype=np.float64)
        np.nan_to_num(wide, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(wide, -limit, limit, out=part, casting="same_kind")
    for group in set(parameters.groups) - {SHARED, *owned}:
        change[parameters.slice(group)] = 0
    return {group: change[parameters.slice(group)] for group in parameters.groups}
