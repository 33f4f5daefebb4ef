"""Was it worth it? One plain sentence from the comparisons on the same test patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from common.tasks import measure_of, measures_of
from server.report.attendance import tested_over
from server.report.evidence import Comparison, Evidence
from server.report.noise import half_width, says_something, written
from server.report.text import NONE, measure_name, number, percent

Answer = Literal["yes", "unclear", "no", "open"]


@dataclass(frozen=True)
class Verdict:
    """`word` answers, `sentence` says why with numbers, `details` say what else the comparisons show."""

    answer: Answer
    word: str
    sentence: str
    details: tuple[str, ...]


def leading(evidence: Evidence) -> str:
    """The measure that the verdict rests on: the first one of those that may lead which is known."""
    federated = [entry for entry in evidence.comparisons if entry.kind == "federated"]
    candidates = [entry.metrics for entry in federated] or [entry.metrics or {} for entry in evidence.rounds]
    task = evidence.study.get("task")
    measures = measures_of(str(task.get("kind")) if isinstance(task, Mapping) else "")
    leads = [measure.key for measure in measures if measure.leads]
    return next((key for key in leads if any(_finite(one.get(key)) for one in candidates)), leads[0])


def _is_above_chance(entry: Comparison, key: str) -> bool:
    measure = measure_of(key)
    return measure.chance is None or measure.rank(entry.metrics) > measure.rank({key: measure.chance})


def best(comparisons: Sequence[Comparison], kind: str, key: str) -> Comparison | None:
    """The comparison of this kind with the best finite measure: the largest, or the least where less is better."""
    found = [entry for entry in comparisons if entry.kind == kind and _finite(entry.metrics.get(key))]
    return max(found, key=lambda entry: measure_of(key).rank(entry.metrics), default=None)


def verdict(evidence: Evidence) -> Verdict:
    """Federated against the best site alone, and against pooled training."""
    key = leading(evidence)
    federated, alone, pooled = (best(evidence.comparisons, kind, key) for kind in ("federated", "alone", "pooled"))
    if federated is None:
        return _unmeasured(evidence, key)
    patients = f"the test patients of {tested_over(evidence, [federated])}"
    reached = f"the model trained together reaches {_value(federated, key)} on {patients}"
    details = _details(evidence, key)
    if not says_something(federated.metrics, key):
        return Verdict("open", "Not known.", _capital(_hidden(federated, key)), details)
    if not _is_above_chance(federated, key):
        answer: Answer = "no" if _has_interval(federated) else "unclear"
        return Verdict(answer, _WORDS[answer], f"{_capital(reached)}: no better than chance.", details)
    against = f", and pooling everyone’s data would reach {number(pooled.metrics[key])}" if pooled else ""
    if alone is None:
        return Verdict("open", "Not known.", f"{_capital(reached)}{against}. {_unasked(evidence)}", details)
    rest = f"{reached}; the best site alone, {alone.label}, reaches {number(alone.metrics[key])}{against}."
    answer = _against(evidence, federated, alone, key)
    return Verdict(answer, _WORDS[answer], _capital(rest), (*_chance(answer, federated, alone, key), *details))


_WORDS: dict[Answer, str] = {"yes": "Yes.", "unclear": "Not clear.", "no": "No."}


def _unmeasured(evidence: Evidence, key: str) -> Verdict:
    """Of a model without a test score: nobody measured it, or the noise left no number."""
    for entry in evidence.comparisons:
        if entry.kind == "federated" and half_width(entry.metrics, key):
            return Verdict("open", "Not known.", _capital(_hidden(entry, key)), _details(evidence, key))
    if any(entry.kind == "federated" and not entry.metrics for entry in evidence.comparisons):
        few = "The test score is not shown: it is of fewer than 5 patients, or of as few of one class."
        return Verdict("open", "Not known.", few, ())
    return Verdict("open", "Not known.", "The federated model was not measured on test patients.", ())


def _unasked(evidence: Evidence) -> str:
    """Why nothing says what a site alone would have reached."""
    if evidence.simulated:
        return "No site was trained alone for comparison."
    return "Each site compares it with its own model by itself: a deployed run reports sums only."


def _against(evidence: Evidence, federated: Comparison, alone: Comparison, key: str) -> Answer:
    """Without an interval never yes or no; nor no where the sites' models had no noise and the federated one had."""
    measure = measure_of(key)
    rival, ours = measure.rank(alone.metrics), measure.rank(federated.metrics)
    if not _has_interval(federated):
        return "unclear"
    low, high = _ranked(federated, key)
    if rival < low:
        return "yes"
    surely = _has_interval(alone) and _ranked(alone, key)[0] > ours
    return "no" if rival > high and surely and not is_private(evidence) else "unclear"


def _ranked(entry: Comparison, key: str) -> tuple[float, float]:
    """The worse and the better end of its interval, as ranks."""
    low, high = sorted(measure_of(key).rank({key: end}) for end in entry.interval or (math.nan, math.nan))
    return low, high


def _has_interval(entry: Comparison) -> bool:
    """Not one of no width, as a perfect score on few patients gives it."""
    ends = entry.interval
    return ends is not None and all(map(math.isfinite, ends)) and ends[1] > ends[0]


def is_private(evidence: Evidence) -> bool:
    """Whether the run had differential privacy; its comparison models never have."""
    privacy = evidence.study.get("privacy")
    return isinstance(privacy, Mapping) and privacy.get("mode", "none") != "none"


def _hidden(federated: Comparison, key: str) -> str:
    ends = written(federated.metrics, key)
    if ends == NONE:
        return f"the noise of privacy hides the test score: its {measure_name(key)} may be anything."
    return (
        f"the noise of privacy hides the test score: its {measure_name(key)} lies at {ends}, with a certainty of 95 % "
        "as to the noise."
    )


def _chance(answer: Answer, federated: Comparison, alone: Comparison, key: str) -> tuple[str, ...]:
    if answer != "unclear":
        return ()
    if not _has_interval(federated):
        return (f"No interval of this {measure_name(key)} is known, so the difference may be chance.",)
    low, high = federated.interval or (math.nan, math.nan)
    if not low <= alone.metrics[key] <= high:
        return ()
    return (
        f"The best site alone lies within the federated model’s 95 % interval, {number(low)} to {number(high)}: "
        "with this many test patients the difference may be chance.",
    )


def _details(evidence: Evidence, key: str) -> tuple[str, ...]:
    federated = best(evidence.comparisons, "federated", key)
    if federated is None:
        return ()
    reached, name, lines = federated.metrics[key], measure_name(key), _what_they_are(evidence, key)
    if not says_something(federated.metrics, key):
        return tuple(lines)
    measure = measure_of(key)
    pooled = best(evidence.comparisons, "pooled", key)
    if pooled and measure.more_is_better:  # of an error, a part of another one says nothing
        lines.append(f"It reaches {percent(reached, pooled.metrics[key], 1)} of the {name} of training on pooled data.")
    if plain := best(evidence.comparisons, "federated_non_private", key):
        lines.append(_cost(measure.rank(plain.metrics) - measure.rank(federated.metrics), name))
    if single := best(evidence.comparisons, "single_modality", key):
        more = reached - single.metrics[key]
        word = "more" if more >= 0 else "less"
        lines.append(f"That is {number(abs(more))} {name} {word} than the best single modality, {single.label}.")
    return tuple(lines)


def _what_they_are(evidence: Evidence, key: str) -> list[str]:
    """What the models are that the federated one is compared with, where a reader might take them for more."""
    lines = []
    others = [entry for entry in evidence.comparisons if entry.kind in ("pooled", "alone", "single_modality")]
    if others and is_private(evidence):
        lines.append(
            "The models that it is compared with are trained with no noise, and with steps tuned for that: what a site "
            "would reach alone under the same privacy is less, and was not measured."
        )
    alone = [entry for entry in others if entry.kind == "alone"]
    if len(alone) > 1:
        lines.append(
            f"The best site alone is the best of {len(alone)} by its test score, which makes it rather too "
            f"{'high' if measure_of(key).more_is_better else 'low'}."
        )
    return lines


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
