"""Flower's SecAgg+ in one process: its sites' own functions, and its coordinator's steps with its own functions."""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np
from flwr.common import bytes_to_ndarray, ndarrays_to_parameters
from flwr.common.secure_aggregation.crypto.shamir import combine_shares
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_extract,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from numpy.typing import NDArray

# The package has a function of this name, which hides the module from a plain import.
mod = importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")

CLIP, QUANTA, MODULUS, MAX_WEIGHT, EXAMPLES = 8.0, 1 << 22, 1 << 32, 1000.0, 500  # the workflow's defaults


class FlowerSecAgg:
    """`sites` sites with the same vector of float32 values; threshold a majority, nobody drops."""

    def __init__(self, values: NDArray[np.float32], sites: int) -> None:
        self.values, self.parameters = values, ndarrays_to_parameters([values])
        self.threshold, self.count = sites // 2 + 1, sites
        self.states = [self._set_up(nid) for nid in range(1, sites + 1)]
        keys: Any = {str(state.nid): (state.pk1, state.pk2) for state in self.states}
        sealed = {state.nid: mod._share_keys(state, keys) for state in self.states}
        self.inbox = {nid: self._inbox(nid, sealed) for nid in sealed}
        vectors = [mod._collect_masked_vectors(s, self.inbox[s.nid], EXAMPLES, self.parameters) for s in self.states]
        self.vectors: list[Any] = [vector[Key.MASKED_PARAMETERS] for vector in vectors]

    def site_seconds(self) -> float:
        """CPU time of one site over all stages. Its keys are new, its neighbours' those of the first run."""
        began = time.process_time()
        state = self._set_up(1)
        keys: Any = {str(other.nid): (other.pk1, other.pk2) for other in self.states}
        keys["1"] = (state.pk1, state.pk2)
        mod._share_keys(state, keys)
        state.ss2_dict = self.states[0].ss2_dict  # the others sealed their shares for its first key
        mod._collect_masked_vectors(state, self.inbox[1], EXAMPLES, self.parameters)
        mod._unmask(state, self._who_is_there())
        return time.process_time() - began

    def coordinator_seconds(self) -> float:
        """CPU time of the coordinator from the masked vectors to the weighted mean."""
        answers: list[Any] = [mod._unmask(state, self._who_is_there()) for state in self.states]
        began = time.process_time()
        total = [bytes_to_ndarray(item) for item in self.vectors[0]]
        for vector in self.vectors[1:]:
            total = parameters_addition(total, [bytes_to_ndarray(item) for item in vector])
        total = parameters_mod(total, MODULUS)
        shares: dict[int, list[bytes]] = {state.nid: [] for state in self.states}
        for answer in answers:
            for nid, share in zip(answer[Key.NODE_ID_LIST], answer[Key.SHARE_LIST], strict=True):
                shares[nid].append(share)
        for listed in shares.values():
            mask = pseudo_rand_gen(combine_shares(listed), MODULUS, get_parameters_shape(total))
            total = parameters_subtraction(total, mask)
        total = parameters_mod(total, MODULUS)
        ratio, total = factor_extract(total)
        (mean,) = dequantize(total, CLIP, QUANTA)
        mean += -(self.count - 1) * CLIP
        mean *= QUANTA / ratio
        seconds = time.process_time() - began
        assert np.max(np.abs(mean - self.values)) < 1e-3, "Flower's sum is not the sum"
        return seconds

    def _set_up(self, nid: int) -> Any:
        state = mod.SecAggPlusState()
        state.nid = nid
        settings: Any = {
            Key.SAMPLE_NUMBER: self.count,
            Key.SHARE_NUMBER: self.count,
            Key.THRESHOLD: self.threshold,
            Key.CLIPPING_RANGE: CLIP,
            Key.TARGET_RANGE: QUANTA,
            Key.MOD_RANGE: MODULUS,
            Key.MAX_WEIGHT: MAX_WEIGHT,
        }
        mod._setup(state, settings)
        return state

    def _inbox(self, nid: int, sealed: dict[int, Any]) -> Any:
        """The shares that the others sealed for one site, as its coordinator forwards them."""
        mine = [
            (source, text)
            for source, sent in sealed.items()
            for target, text in zip(sent[Key.DESTINATION_LIST], sent[Key.CIPHERTEXT_LIST], strict=True)
            if target == nid
        ]
        return {Key.SOURCE_LIST: [source for source, _ in mine], Key.CIPHERTEXT_LIST: [text for _, text in mine]}

    def _who_is_there(self) -> Any:
        return {Key.ACTIVE_NODE_ID_LIST: [state.nid for state in self.states], Key.DEAD_NODE_ID_LIST: []}
