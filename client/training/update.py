"""What a site would add to the global model: the difference that its training made."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from common.models.network import MultimodalNetwork
from common.parameters import SHARED, Parameters, flatten


def update_of(
    network: MultimodalNetwork,
    before: NDArray[np.float32],
    parameters: Parameters,
    owned: Collection[str],
    bound: float,
) -> dict[str, NDArray[np.float32]]:
    """Group -> float32 change of its parameters since `before`, for every group; zeros where the site owns no cases.

    Numbers that are not finite become 0, and the others are clipped to [-bound, bound]: the fixed point after this
    refuses nothing, so that no refusal can tell of a patient. The shared group is everyone's.
    """
    change = np.nan_to_num(flatten(network) - before.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    limit = np.float32(bound)
    if float(limit) > bound:  # a bound such as 0.1 is not a float32: the nearest may lie outside
        limit = np.nextafter(limit, np.float32(0))
    change = np.clip(change, -limit, limit)
    mine = {SHARED, *owned}
    return {
        group: (change[parameters.slice(group)] * (group in mine)).astype(np.float32) for group in parameters.groups
    }
