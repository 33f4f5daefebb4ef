"""One round in one line, for whoever watches a run, simulated or deployed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from common.schedule import title
from common.tasks import MEASURES
from common.tasks.measure import Measure
from server.report.counts import HIDDEN
from server.report.evidence import RoundEvidence
from server.report.noise import half_width, written
from server.report.text import NONE


def _leading(scores: Mapping[str, float]) -> Measure | None:
    """The first measure that a verdict may rest on, of which a number or its noise is known."""
    leads = (measure for measure in MEASURES.values() if measure.leads)
    return next((one for one in leads if one.key in scores and (_known(scores, one.key))), None)


def _known(scores: Mapping[str, float], key: str) -> bool:
    return not math.isnan(scores[key]) or bool(half_width(scores, key))


def line(evidence: RoundEvidence, rounds: int) -> str:
    """One round in one line. A score belongs to the model that the round began with."""
    number = evidence.round
    if number == 0:
        parts = ["statistics summed"]
    elif number <= rounds:
        parts = [f"round {number:>3}/{rounds}"]
    else:
        after = {rounds + 1: "last model scored", rounds + 2: "test patients scored"}
        parts = [after.get(number, title(number, rounds))]
    parts.append(f"{evidence.sites} sites" + (f", {evidence.dropped} lost" if evidence.dropped else ""))
    if evidence.without:
        parts.append(f"without {', '.join(evidence.without)}")
    if evidence.metrics == {}:
        parts.append("score not shown: of too few patients")
    scores = evidence.metrics or {}
    if (leading := _leading(scores)) is not None:
        found = written(scores, leading.key)
        said = HIDDEN if found == NONE else found
        parts.append(f"{leading.column} {said}" + (f" after round {number - 1}" if number <= rounds else ""))
    spent = [value for value in (evidence.epsilon, evidence.held_out_epsilon) if value is not None]
    if spent:
        parts.append(f"epsilon {max(spent):.2f}")
    parts.append(f"{evidence.bytes_up / 1e6:.1f} MB up, {evidence.seconds:.1f} s")
    return "  ".join(parts)
