"""Server strategies: the classes of flwr.serverapp.strategy that live on a weighted mean, and what each takes.

Written out, so that a hospital, which has none of the server's code, refuses what the coordinator would.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from common.errors import StudyError
from common.study import Server

_NODES = ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes")
# One line a strategy: its name, and the options beside those of all.
STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "FedAvg": (),
    "FedProx": ("proximal_mu",),
    "FedAvgM": ("server_learning_rate", "server_momentum"),
    "FedAdagrad": ("eta", "eta_l", "tau"),
    "FedAdam": ("eta", "eta_l", "beta_1", "beta_2", "tau"),
    "FedYogi": ("eta", "eta_l", "beta_1", "beta_2", "tau"),
}
# They have to see single updates: medians, trimmed means, distances, losses.
SINGLE_UPDATES = ("FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan", "QFedAvg")


def options_of(strategy: str) -> tuple[str, ...]:
    """Return the names of all options that a strategy takes."""
    return (*STRATEGIES[strategy], *_NODES)


def require_strategy(server: Server) -> None:
    """Refuse a strategy that there is not, that cannot live on a mean, or that does not take these options: StudyError
    saying what is possible.
    """
    able = ", ".join(sorted(STRATEGIES))
    if server.strategy in SINGLE_UPDATES:
        raise StudyError(
            f"server.strategy: {server.strategy} has to see single sites' updates, which a secure sum never shows. "
            f"Choose one of {able}."
        )
    if server.strategy not in STRATEGIES:
        near = difflib.get_close_matches(server.strategy, STRATEGIES, n=1)
        meant = f"Did you mean {near[0]}? It" if near else "It"
        raise StudyError(f"server.strategy: {server.strategy} is none that there is. {meant} is one of {able}.")
    unknown = sorted(server.options.keys() - {*options_of(server.strategy)})
    if unknown:
        raise StudyError(
            f"server.options: {server.strategy} has no {', '.join(unknown)}; it takes "
            f"{', '.join(options_of(server.strategy))}."
        )
