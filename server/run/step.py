"""Summed update -> new global model, through Flower's own Strategy classes.

Flower's strategies average the replies of many clients. Here they are given exactly one reply, which holds the
securely summed mean: whatever a strategy does with a weighted mean, it does the same. Strategies that need to see
single updates (medians, Krum, trimmed means) cannot work behind a secure sum, and are refused with that reason.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, strategy
from numpy.typing import NDArray

from common.errors import RunError
from common.messages import new_message
from common.strategies import require_strategy
from common.study import Server

KEY = "model"
BLOCK = 1 << 20
_STATE = ("m_t", "v_t", "momentum_vector", "current_arrays")


class ServerStep:
    """One Flower strategy, fed with means. The model is one flat float32 vector (n,)."""

    def __init__(self, server: Server) -> None:
        logging.getLogger("flwr").setLevel(logging.ERROR)  # it warns that it samples nobody, which is the point here
        self._strategy = make_strategy(server)

    def apply(
        self, round_number: int, model: NDArray[np.float32], proposed: NDArray[np.float32], grid: Grid
    ) -> NDArray[np.float32]:
        """The new global model after round `round_number`, counted from 1. `proposed`: `model` and the mean update."""
        # Without a fraction to sample, this only shows the strategy the present model: no message is made.
        list(self._strategy.configure_train(round_number, _record(model), ConfigRecord(), grid))
        arrays, _ = self._strategy.aggregate_train(round_number, [_reply(_record(proposed))])
        if arrays is None:
            raise RunError("Flower's strategy gave no model back; see its log above.")
        new = np.asarray(arrays[KEY].numpy(), dtype=np.float32)
        if not np.isfinite(new).all():
            raise RunError("The new global model is not finite: lower the learning rate of the sites or the server.")
        return new

    def state(self) -> dict[str, NDArray[Any]]:
        """The strategy's memory (momenta), as arrays for the checkpoint."""
        found: dict[str, NDArray[Any]] = {}
        for name in _STATE:
            value = getattr(self._strategy, name, None)
            if isinstance(value, ArrayRecord):
                found[name] = value[KEY].numpy()
            elif isinstance(value, dict):
                found[name] = value[KEY]
            elif isinstance(value, list):
                found[name] = value[0]
        return found

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Put back what `state` gave."""
        for name, value in state.items():
            if name == "momentum_vector":
                setattr(self._strategy, name, [value])
            elif name == "current_arrays" and isinstance(self._strategy, strategy.FedAvgM):
                setattr(self._strategy, name, ArrayRecord({KEY: Array(value)}))
            else:
                setattr(self._strategy, name, {KEY: value})


def add_mean(model: NDArray[np.float32], total: NDArray[np.float64], weight: float) -> None:
    """Add the mean update `total` / `weight` to `model`, both (n,), in place: in float64, without a vector of it."""
    for start in range(0, len(model), BLOCK):
        part = slice(start, start + BLOCK)
        model[part] = model[part] + total[part] / weight


def make_strategy(server: Server) -> strategy.FedAvg:
    """The strategy that the study names, with its options, or StudyError saying what is possible."""
    require_strategy(server)
    kind: type[strategy.FedAvg] = getattr(strategy, server.strategy)
    return kind(**{"fraction_train": 0.0, "fraction_evaluate": 0.0, **server.options})  # type: ignore[arg-type]


def _record(model: NDArray[np.float32]) -> ArrayRecord:
    return ArrayRecord({KEY: Array(model)})


def _reply(arrays: ArrayRecord) -> Message:
    content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})})
    return new_message(content, "train", 0)
