"""What a reader must know before trusting the numbers: switched off, weak, or not covered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from server.report.evidence import Evidence, switched_off


def caveats(evidence: Evidence) -> list[str]:
    """`switched_off`, and what only the run itself shows, in plain sentences."""
    privacy = evidence.study.get("privacy")
    found = switched_off(evidence.study, evidence.threshold)
    if isinstance(privacy, Mapping) and privacy.get("mode", "none") != "none":
        found += [*_held_out(evidence), *_overspent(evidence, privacy), *_delta(evidence, privacy)]
    return found


def alarming(evidence: Evidence) -> bool:
    """Whether differential privacy or the secure sum was off, or more was spent than agreed."""
    privacy, secure_sum = evidence.study.get("privacy"), evidence.study.get("secure_sum")
    private = isinstance(privacy, Mapping) and privacy.get("mode", "none") != "none"
    summed = isinstance(secure_sum, Mapping) and bool(secure_sum.get("enabled", False))
    return not private or not summed or bool(_overspent(evidence, privacy if isinstance(privacy, Mapping) else {}))


def _held_out(evidence: Evidence) -> list[str]:
    measured = [entry for entry in evidence.rounds if entry.metrics is not None]
    if not measured or any(entry.held_out_epsilon is not None for entry in measured):
        return []
    return [
        "Epsilon covers training patients. The measures were summed over validation and test patients without noise, "
        "so those patients are protected by the sum alone."
    ]


def _overspent(evidence: Evidence, privacy: Mapping[str, Any]) -> list[str]:
    budget = privacy.get("epsilon")
    each = (value for entry in evidence.rounds for value in (entry.epsilon, entry.held_out_epsilon))
    spent = max((value for value in each if value is not None), default=0.0)
    if not isinstance(budget, int | float) or spent <= budget:
        return []
    return [f"MORE WAS SPENT THAN AGREED: epsilon {spent:.4g}, and the study allows {budget:g}."]


def _delta(evidence: Evidence, privacy: Mapping[str, Any]) -> list[str]:
    """Delta should be well below one over the number of patients: at 1/n, publishing one patient whole satisfies it."""
    delta = privacy.get("delta")
    training = [entry.cases.get("train") for entry in evidence.coverage if entry.site is None]
    patients = sum(count for count in training if isinstance(count, int | float))
    if not isinstance(delta, int | float) or delta * patients < 1:
        return []
    return [f"Delta, {delta:g}, is not below one in the number of training patients: choose a smaller one."]
