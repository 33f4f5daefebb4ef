"""Evidence: what a run leaves behind to be judged by. Plain frozen values, and report.json.

A simulated run may show its sites. A deployed one holds sums only: this module refuses anything else, so that no
page and no file can be made of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from common import schema as border
from common.errors import PrivacyError, RunError
from common.format_number import KEY, take_format
from common.study import Study

Kind = Literal["federated", "federated_non_private", "pooled", "alone", "single_modality"]
# A count of patients; or why it is not shown (see `server.report.release`), or why there is none.
Cell = float | Literal["<5", "all but <5", "withheld", "not trained", "not counted"]
NOT_TRAINED: Literal["not trained"] = "not trained"  # of a modality that is absent in the run, whoever has it
NOT_COUNTED: Literal["not counted"] = "not counted"  # of a part of the cohort that is in no sum, whoever is in it

REPORT_FORMAT = 2
OF_INQUIRIES = 2  # of a report that has any; others keep format 1, which release 0.2 reads

_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


@dataclass(frozen=True)
class RoundEvidence:
    """One round.

    sites: whose updates are in the sum. dropped: lost in a leg of any of the round's attempts, and perhaps in the sum
    nevertheless: after their work was done, or in an attempt before; drop_reasons: leg and public error code -> sites.
    seconds: wall clock; bytes_up and bytes_down: of all sites together, as they crossed the wire; steps: of all sites.
    epsilon: spent to this round's end on training patients, the largest that any site has certified in the run so far,
    in this sum or in none of late; None without privacy. held_out_epsilon: the same for validation and test patients;
    None where their sums carry no noise.
    metrics: validation measures recorded in this round (`auc`, `accuracy`, `log_loss`, `brier`, `calibration_error`,
    `cases`; nan where not defined), or None in a round without evaluation.
    threshold: t, with which the sum was opened; None without a secure sum.
    run_sites: how many sites the run had, in this sum or not; None where release 0.1 did not write it.
    without: the run's modalities that are not in this sum, for too few of its sites have them; release 0.1 wrote none.

    The last round's row in a report is its own sum and those after it, the last model's score and the test: the fewest
    sites, all that dropped out, the total time, bytes and steps, and whatever one of them was without.
    """

    round: int
    sites: int
    dropped: int
    drop_reasons: Mapping[str, int]
    seconds: float
    bytes_up: int
    bytes_down: int
    steps: int
    epsilon: float | None
    held_out_epsilon: float | None
    metrics: Mapping[str, float] | None
    threshold: int | None = None
    run_sites: int | None = None
    without: tuple[str, ...] = ()

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Comparison:
    """One model on test patients. `interval`: 95 %, of the leading measure (`verdict.leading`).

    sites: over how many the one sum of its scores is; None where it was measured on the patients of all sites
    """

    label: str
    kind: Kind
    metrics: Mapping[str, float]
    interval: tuple[float, float] | None
    note: str
    sites: int | None = None

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Coverage:
    """Cases by split, cases with each modality, training cases by class. `site` None: the sum over those of round 0.

    noise: the standard deviation of the noise of privacy in each count; 0 where they are exact, and in reports of 0.1,
        which did not keep it
    """

    site: str | None
    cases: Mapping[str, Cell]
    present: Mapping[str, Cell]
    classes: Mapping[str, Cell]
    noise: float = 0.0

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class InquiryEvidence:
    """What came of one inquiry of the study.

    name: the study's. asked: what it asked, as "finds the median of 'age'". found: result -> value
    counts: the results that are numbers of patients. noise: the standard deviation of the noise of privacy in each
    """

    name: str
    asked: str
    found: Mapping[str, Cell]
    counts: tuple[str, ...] = ()
    noise: float = 0.0

    __pydantic_config__ = _STRICT


@dataclass(frozen=True)
class Evidence:
    """All that a report says. `study` is `common.schema.plain(study)`; times are ISO 8601.

    open_epsilon: what sites may have charged by now, with a round that was begun and is in no sum here; None where the
        run came to its end
    released: whether small cells are out of it already (`server.report.release`); left out of report.json where not
    inquiries: left out of report.json where there is none

    Raises PrivacyError where a deployed run (`simulated` false) is given anything of a single site.
    """

    study: Mapping[str, Any]
    study_digest: str
    run: str
    started: str
    finished: str | None
    simulated: bool
    sites: int
    selected_round: int | None
    rounds: tuple[RoundEvidence, ...]
    coverage: tuple[Coverage, ...]
    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]
    software: Mapping[str, str]
    threshold: int | None
    open_epsilon: float | None = None
    released: bool = False
    inquiries: tuple[InquiryEvidence, ...] = ()
    format: int = 1

    __pydantic_config__ = _STRICT

    def __post_init__(self) -> None:
        if self.simulated:
            return
        if any(coverage.site is not None for coverage in self.coverage):
            raise PrivacyError("A deployed run reports sums only: give its coverage with site None, as one sum.")
        if any(comparison.kind == "alone" for comparison in self.comparisons):
            raise PrivacyError("A deployed run reports sums only: leave out comparisons of the kind `alone`.")


# ------------------------------------------------------------------------------------------------------- report.json


def to_json(evidence: Evidence) -> str:
    """Strict JSON: numbers that JSON lacks are the strings "nan", "inf" and "-inf"."""
    return json.dumps(_finite(border.plain(dict(_fields(evidence)))), indent=1, allow_nan=False) + "\n"


def from_json(text: str, name: str = "report.json") -> Evidence:
    """The reverse of `to_json`, or RunError naming each key that is wrong."""
    try:
        values = json.loads(text)
        number = take_format(values, REPORT_FORMAT, name, RunError) if isinstance(values, dict) else 0
        return TypeAdapter(Evidence).validate_python(values | {KEY: number} if isinstance(values, dict) else values)
    except json.JSONDecodeError as problem:
        raise RunError(f"{name}: is not JSON at line {problem.lineno}. Take the file of a finished run.") from None
    except ValidationError as problem:
        errors = problem.errors(include_url=False, include_input=False, include_context=False)
        where = ", ".join(".".join(str(part) for part in entry["loc"]) or "(top)" for entry in errors)
        raise RunError(f"{name}: is not a report of this version; see {where}.") from None
    except (RecursionError, ValueError):  # lists in lists, a number of a million digits
        raise RunError(f"{name}: is no report of wardround. Take the file of a finished run.") from None


def read_evidence(path: Path) -> Evidence:
    """The evidence of a finished run."""
    try:
        return from_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError):
        raise RunError(
            f"{path}: cannot be read. Give the folder of a run that has ended, as runs/NAME or consortium/runs/NAME."
        ) from None


def _fields(evidence: Evidence) -> Mapping[str, Any]:
    values = {name: getattr(evidence, name) for name in evidence.__dataclass_fields__}
    return {name: value for name, value in values.items() if name not in ("released", "inquiries") or value}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value


# ---------------------------------------------------------------------------------------------- what was switched off

WEAK_EPSILON = 10.0  # above it the formal guarantee says little by itself: Ponomareva et al. 2023, "How to DP-fy ML"
WEAK_DELTA = 1e-4


def switched_off(study: Study | Mapping[str, Any], threshold: int | None = None) -> list[str]:
    """Plain sentences for each protection that this study leaves out or weakens; `threshold` is the run's own t.

    A study that does not say is taken as one that leaves it out.
    """
    plain: Mapping[str, Any] = border.plain(study) if isinstance(study, Study) else study
    privacy, secure_sum = _part(plain, "privacy"), _part(plain, "secure_sum")
    return [*_privacy(privacy), *_secure_sum(secure_sum, threshold)]


def _part(study: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = study.get(name)
    return part if isinstance(part, Mapping) else {}


def _privacy(privacy: Mapping[str, Any]) -> list[str]:
    if privacy.get("mode", "none") == "none":
        return [
            "This model was trained WITHOUT differential privacy: nothing limits what it remembers of a single "
            "patient. Whoever holds the model may find out who was in the data, and parts of it. Treat the model "
            "itself as patient data."
        ]
    found = []
    epsilon, delta = privacy.get("epsilon"), privacy.get("delta")
    if isinstance(epsilon, int | float) and epsilon > WEAK_EPSILON:
        found.append(
            f"The privacy budget is large: epsilon {epsilon:g}. Above {WEAK_EPSILON:g} the guarantee says little by "
            "itself about what the model may reveal of one patient."
        )
    if isinstance(delta, int | float) and delta > WEAK_DELTA:
        found.append(f"Delta is large: {delta:g}, the chance that the guarantee of epsilon fails outright.")
    return found


def _secure_sum(secure_sum: Mapping[str, Any], threshold: int | None) -> list[str]:
    if not secure_sum.get("enabled", False):
        return [
            "The secure sum was OFF: the coordinator received each site’s update, counts and measures by "
            "themselves, and was trusted to look only at their sums."
        ]
    t = threshold if threshold is not None else secure_sum.get("threshold")
    c = secure_sum.get("colluding", 1)
    if isinstance(t, int) and isinstance(c, int) and t - c <= 2:
        return [
            f"The secure sum may open with {t} sites. With {c} of those colluding with the coordinator, the update of "
            f"another is hidden among {max(t - c, 0)} only, its own included."
        ]
    return []
