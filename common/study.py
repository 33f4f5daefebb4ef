"""Study: what all sites agree on. The schema of study.yaml, and its digest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from common import schema as border
from common.errors import StudyError
from common.inquiries import StudyInquiry, require_askable
from common.modalities import Modality
from common.schema import schema
from common.tasks import Task
from common.value_types import Count, Fraction, Name, NonNegative, Positive

SHARED = "shared"  # the group of the parameters that no modality has for itself
LONGEST_TEXT = 100
WIDEST = 3.4e38  # of float32: further apart, a value and the width of its range are infinite
PRIVATE_BINS = 10  # of a histogram of scores, by default of schema 1: each bin more is a noise more


# -------------------------------------------------------------------------------------------- fusion, training, server


@schema
class Fusion:
    """How tokens of the present modalities become one vector of `width`."""

    kind: Literal["mean", "weighted", "product", "concat", "attention"] = "attention"
    width: Count = 32
    heads: Count = 2
    layers: Count = 1
    hidden: Annotated[int, Field(ge=0)] = 0  # of the head, after fusion; 0: linear
    modality_dropout: Fraction = 0.1

    def __post_init__(self) -> None:
        if self.kind == "attention" and self.width % self.heads:
            raise ValueError("width must be a multiple of heads")


@schema
class Training:
    """What each site does in a round. With privacy, batches are Poisson samples and `batch_size` is not used."""

    local_steps: Count = 10
    batch_size: Count = 16
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    proximal: NonNegative = 0.0  # FedProx's mu (Li et al. 2020); 0: none

    def __post_init__(self) -> None:
        if self.optimiser == "adam" and self.momentum:
            raise ValueError("momentum belongs to optimiser: sgd; adam has its own")


@schema
class Server:
    """`strategy` names a class of flwr.serverapp.strategy that lives on a weighted mean; `options` are its own."""

    strategy: str = "FedAvg"
    options: dict[str, float] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------- privacy and the sum


@schema
class Privacy:
    """`local`: DP-SGD at each site with full noise (Abadi et al. 2016). Terms are Opacus's.

    `expected_batch_size` is the public denominator of a step. It is a constant of the study and not a site's count:
    small sites move the model less, which is the weight that their number of patients deserves.
    """

    mode: Literal["none", "local"] = "none"
    unit: Literal["patient"] = "patient"
    epsilon: Positive = 8.0
    delta: Annotated[float, Field(gt=0, lt=0.01)] = 1e-5
    max_grad_norm: Positive = 1.0
    sample_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    expected_batch_size: Positive = 16.0
    spare_rounds: Annotated[int, Field(ge=0)] = 1  # rounds that may be repeated after a crash, within epsilon
    statistics_noise_multiplier: Positive = 8.0
    accountant: Literal["prv", "rdp"] = "rdp"


@schema
class SecureSum:
    """`threshold`: t of DESIGN's table; None: the smallest that the number of sites allows."""

    enabled: bool = True
    threshold: Annotated[int, Field(ge=2)] | None = None
    colluding: Annotated[int, Field(ge=1)] = 1
    bits: Literal[16, 20, 24, 32] = 32
    update_bound: Positive = 4.0  # largest change of one parameter in one round; larger ones are clipped
    max_cases: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000  # of one site; bounds weights and counts


@schema
class Split:
    """By keyed hash of the patient, or by a column that the study names."""

    key: str = "wardround"
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test: Annotated[float, Field(ge=0, lt=1)] = 0.2
    column: Name | None = None
    validation_values: list[str] = field(default_factory=list)
    test_values: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.column is None and (self.validation_values or self.test_values):
            raise ValueError("validation_values and test_values go with column")
        if self.column is not None and set(self.validation_values) & set(self.test_values):
            raise ValueError("a value cannot mean both validation and test")
        if self.column is None and self.validation + self.test >= 1:
            raise ValueError("validation and test leave nobody to train on")

    @property
    def validates(self) -> bool:
        """Whether any patient is kept for validation."""
        return "validation" in self.parts

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the cohort that a patient can be in."""
        by_column = {"validation": bool(self.validation_values), "test": bool(self.test_values)}
        held_out = by_column if self.column is not None else {"validation": self.validation > 0, "test": self.test > 0}
        return ("train", *(part for part, is_there in held_out.items() if is_there))


@schema
class Evaluation:
    """Scores are summed as histograms of `bins` bins; every `every` rounds, and before the first and after the last."""

    every: Count = 1
    bins: Annotated[int, Field(ge=2, le=1000)] = 100


# ---------------------------------------------------------------------------------------------------------- the study


@schema
class Study:
    """All that the sites agree on before a run. Two studies with one digest are the same study."""

    schema: Annotated[int, Field(ge=0, le=border.SCHEMA)] = border.since(1, 0)
    study: Name
    task: Task
    modalities: dict[Name, Modality]
    rounds: Annotated[int, Field(ge=1, le=100_000)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    fusion: Fusion = field(default_factory=Fusion)
    training: Training = field(default_factory=Training)
    server: Server = field(default_factory=Server)
    privacy: Privacy = field(default_factory=Privacy)
    secure_sum: SecureSum = field(default_factory=SecureSum)
    split: Split = field(default_factory=Split)
    evaluation: Evaluation = field(default_factory=Evaluation)
    inquiries: dict[Name, StudyInquiry] = border.since_of(2, dict)

    def __post_init__(self) -> None:
        require_askable(self.inquiries, self.modalities, self.privacy.accountant if self.private else None)
        if not self.modalities:
            raise ValueError("modalities: a study has at least one")
        if SHARED in self.modalities:
            raise ValueError("modalities.shared: the name is taken by the parameters that all sites share")
        if not all(text.isprintable() and len(text) <= LONGEST_TEXT for text in _texts(border.plain(self))):
            raise ValueError(
                f"a text has at most {LONGEST_TEXT} characters, all of which a screen shows in their place"
            )
        if endless := [place for place, number in _numbers(border.plain(self)) if not math.isfinite(number)]:
            raise ValueError(f"{', '.join(endless)}: write a finite number")
        if self.schema >= 1 and (wide := [place for place, low, high in _ranges(self) if high - low > WIDEST]):
            raise ValueError(f"{wide[0]}: low and high are further apart than single precision can hold ({WIDEST:.1e})")

    @property
    def digest(self) -> str:
        """SHA-256 in hex over everything in the study, defaults written out."""
        return border.digest(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities' names, in the study's order: the order of the presence mask."""
        return tuple(self.modalities)

    @property
    def private(self) -> bool:
        return self.privacy.mode != "none"


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number that is no whole one, and its place."""
    if isinstance(value, float):
        yield place.removeprefix("."), value
    elif isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        yield from (found for key, item in items for found in _numbers(item, f"{place}.{key}"))


def _ranges(study: Study) -> Iterator[tuple[str, float, float]]:
    """(place, low, high) of every column of the study's."""
    for name, modality in study.modalities.items():
        yield from ((f"modalities.{name}{place}", low, high) for place, low, high in modality.bounds())


def _texts(value: Any) -> Iterator[str]:
    """Every name and word. A person who approves the study sees them: none may move or hide what else is to be seen."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.items() for part in item for text in _texts(part))
    elif isinstance(value, list):
        yield from (text for item in value for text in _texts(item))


def defaults_of(content: dict[Any, Any], number: int) -> dict[Any, Any]:
    """Fill in what a study.yaml of this schema number leaves out and an earlier number means otherwise.

    Schema 0 has the defaults of the classes here, those of release 0.1, for ever. A new default is a new number.
    """
    if number < 1:
        return content
    privacy = content.get("privacy", {})
    if "study" in content and isinstance(privacy, dict) and "mode" not in privacy:
        raise StudyError(
            "study.yaml: privacy.mode: missing. From schema 1 on it is written out: `local` for differential privacy, "
            "`none` only where everybody is to read that there is none."
        )
    evaluation = content.get("evaluation", {})
    private = isinstance(privacy, dict) and privacy.get("mode", "none") != "none"
    if private and isinstance(evaluation, dict) and "bins" not in evaluation:
        return content | {"evaluation": evaluation | {"bins": PRIVATE_BINS}}
    return content


def read_study(path: Path) -> Study:
    """Read study.yaml, or raise StudyError naming every mistake and its place."""
    return border.read(path, Study, StudyError, defaults_of)


def parse_study(text: str, name: str = "study.yaml") -> Study:
    """As `read_study`, from text."""
    return border.parse(text, Study, StudyError, name, defaults_of)


def study_in_part(text: str, name: str = "study.yaml") -> tuple[Study | None, list[str]]:
    """Return every mistake in a study.yaml, and what can be read without them, to look for what else is wrong."""
    task = {"kind": "binary", "classes": ["no", "yes"]}
    stand_ins = {"study": "study", "task": task, "modalities": {"note": {"kind": "note"}}, "rounds": 1}
    return border.read_in_part(text, Study, StudyError, name, defaults_of, stand_ins)


def study_text(study: Study) -> str:
    """The study as YAML, every default written out."""
    return border.dump(study)
