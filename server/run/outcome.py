"""What a run leaves: the model, the sums that describe the cohort, the history, the test score as a sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from common.plan import Normaliser
from common.schedule import Schedule
from common.statistics import normaliser_from_sums
from common.study import Study
from server.report.evidence import InquiryEvidence, RoundEvidence
from server.run.checkpoint import RunState
from server.run.history import by_round, history_in
from server.run.inquired import found_in
from server.run.trained import Scored, partly_in, scored_in, uncounted_in, untrained_in


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: the model, the sums that describe the cohort, the history, the test score as a sum."""

    weights: NDArray[np.float32] = field(repr=False)
    selected_round: int
    history: tuple[RoundEvidence, ...]
    statistics: dict[str, NDArray[np.float64]]
    normaliser: Normaliser = field(repr=False)
    test: Mapping[str, float] | None
    threshold: int | None  # the lowest t of any of its sums
    sites: int
    untrained: tuple[str, ...] = ()  # modalities of too few sites: absent in every case, and in the model
    uncounted: tuple[str, ...] = ()  # parts of the cohort that too few sites could fill: neither scored nor counted
    partly: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # modality -> training rounds with it, of all
    scored: Scored = field(default_factory=Scored)  # which modalities its scores were taken without
    inquiries: tuple[InquiryEvidence, ...] = ()


def outcome_in(study: Study, state: RunState) -> Outcome:
    """What the run of this state leaves, which came to its end."""
    history = history_in(state)
    thresholds = [entry.threshold for entry in history if entry.threshold is not None]
    return Outcome(
        state.arrays["best"],
        state.best_round,
        by_round(history, study.rounds),
        sums_in(state),
        normaliser_in(study, state),
        history[Schedule(study).tests].metrics,
        min(thresholds, default=None),
        history[Schedule(study).tests].sites,
        untrained_in(study, state, state.best_round),
        uncounted_in(study, state),
        partly_in(study, state, state.best_round),
        scored_in(study, state, state.best_round),
        found_in(study, state),
    )


def sums_in(state: RunState) -> dict[str, NDArray[np.float64]]:
    """Return the summed statistics, by segment; none before they are known."""
    return {name[4:]: value for name, value in state.arrays.items() if name.startswith("sum/")}


def normaliser_in(study: Study, state: RunState) -> Normaliser:
    """Return what the summed statistics normalise with; nothing before they are known."""
    sums = sums_in(state)
    return normaliser_from_sums(study, sums) if sums else {}
