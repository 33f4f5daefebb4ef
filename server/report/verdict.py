"""Was it worth it? One plain sentence from the comparisons on the same test patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from server.report.evidence import Comparison, Evidence
from server.report.text import measure_name, number, percent

Answer = Literal["yes", "unclear", "no", "open"]
CHANCE = 0.5  # of the AUC


@dataclass(frozen=True)
class Verdict:
    """`word` answers, `sentence` says why with numbers, `details` say what else the comparisons show."""

    answer: Answer
    word: str
    sentence: str
    details: tuple[str, ...]


def leading(evidence: Evidence) -> str:
    """The measure that the verdict rests on: AUC, or accuracy where no comparison has an AUC."""
    federated = [entry for entry in evidence.comparisons if entry.kind == "federated"]
    candidates = [entry.metrics for entry in federated] or [entry.metrics or {} for entry in evidence.rounds]
    for key in ("auc", "accuracy"):
        if any(_finite(metrics.get(key)) for metrics in candidates):
            return key
    return "auc"


def best(comparisons: Sequence[Comparison], kind: str, key: str) -> Comparison | None:
    """The comparison of this kind with the largest finite measure."""
    found = [entry for entry in comparisons if entry.kind == kind and _finite(entry.metrics.get(key))]
    return max(found, key=lambda entry: entry.metrics[key], default=None)


def verdict(evidence: Evidence) -> Verdict:
    """Federated against the best site alone, and against pooled training."""
    key = leading(evidence)
    federated, alone, pooled = (best(evidence.comparisons, kind, key) for kind in ("federated", "alone", "pooled"))
    if federated is None:
        return Verdict("open", "Not known.", "The federated model was not measured on test patients.", ())
    reached = f"the model trained together reaches {_value(federated, key)} on the test patients of all sites"
    details = _details(evidence, key)
    if key == "auc" and federated.metrics[key] <= CHANCE:
        return Verdict("no", "No.", f"{_capital(reached)}: no better than chance.", details)
    against = f", and pooling everyone’s data would reach {number(pooled.metrics[key])}" if pooled else ""
    if alone is None:
        return Verdict("open", "Not known.", f"{_capital(reached)}{against}. {_unasked(evidence)}", details)
    rest = f"{reached}; the best site alone, {alone.label}, reaches {number(alone.metrics[key])}{against}."
    answer = _against(federated, alone, key)
    return Verdict(answer, _WORDS[answer], _capital(rest), (*_chance(answer, federated), *details))


_WORDS: dict[Answer, str] = {"yes": "Yes.", "unclear": "Not clear.", "no": "No."}


def _unasked(evidence: Evidence) -> str:
    """Why nothing says what a site alone would have reached."""
    if evidence.simulated:
        return "No site was trained alone for comparison."
    return "Each site compares it with its own model by itself: a deployed run reports sums only."


def _against(federated: Comparison, alone: Comparison, key: str) -> Answer:
    rival = alone.metrics[key]
    low, high = federated.interval or (math.nan, math.nan)
    if low <= rival <= high:
        return "unclear"
    return "yes" if federated.metrics[key] > rival else "no"


def _chance(answer: Answer, federated: Comparison) -> tuple[str, ...]:
    if answer != "unclear" or federated.interval is None:
        return ()
    low, high = federated.interval
    return (
        f"The best site alone lies within the federated model’s 95 % interval, {number(low)} to {number(high)}: "
        "with this many test patients the difference may be chance.",
    )


def _details(evidence: Evidence, key: str) -> tuple[str, ...]:
    federated = best(evidence.comparisons, "federated", key)
    if federated is None:
        return ()
    reached, name, lines = federated.metrics[key], measure_name(key), []
    if pooled := best(evidence.comparisons, "pooled", key):
        lines.append(f"It reaches {percent(reached, pooled.metrics[key], 1)} of the {name} of training on pooled data.")
    if plain := best(evidence.comparisons, "federated_non_private", key):
        lines.append(_cost(plain.metrics[key] - reached, name))
    if single := best(evidence.comparisons, "single_modality", key):
        more = reached - single.metrics[key]
        word = "more" if more >= 0 else "less"
        lines.append(f"That is {number(abs(more))} {name} {word} than the best single modality, {single.label}.")
    return tuple(lines)


def _cost(lost: float, name: str) -> str:
    if lost <= 0:
        return f"Differential privacy cost no {name} here."
    return f"Differential privacy cost {number(lost)} {name}."


def _value(entry: Comparison, key: str) -> str:
    if entry.interval is None or not all(map(math.isfinite, entry.interval)):
        return f"{measure_name(key)} {number(entry.metrics[key])}"
    low, high = entry.interval
    return f"{measure_name(key)} {number(entry.metrics[key])} ({number(low)} to {number(high)})"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
