"""The targets that made-up hospitals write: what the study's task plants, by part, in columns of records.csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import StudyError
from common.tasks import Task
from common.tasks.binary import Binary
from common.tasks.part import TARGET
from deploy.research.synthetic.dialect import CLASSES, Dialect
from deploy.research.synthetic.patients import Patients

USUAL = Binary(kind="binary", classes=list(CLASSES))
GAPS = 0.1  # share of the patients of whom one part of several is not known


def require_columns(task: Task) -> None:
    """Refuse a task of which these hospitals can have no target."""
    known = task.planted(np.zeros(1))
    if lacking := [part.name for part in task.parts if part.name not in known]:
        raise StudyError(
            f"task: hospitals can be made up for targets that are columns, and not for {', '.join(lacking)}."
        )


def target_columns(task: Task, words: Dialect, drawn: Patients, rng: np.random.Generator) -> dict[str, list[str]]:
    """Return the hospital's name of each column, and its cells: gaps where nobody wrote the outcome down."""
    planted, own = task.planted(drawn.severity), _own_words(task, words)
    several = len(task.parts) > 1
    found = {}
    for part in task.parts:
        known = drawn.labelled & (rng.random(len(drawn)) >= GAPS) if several else drawn.labelled
        cells = (own.get(word, word) for word in planted[part.name])
        found[_column(words, part.name)] = [
            cell if told else words.gap for cell, told in zip(cells, known, strict=True)
        ]
    return found


def target_source(task: Task, words: Dialect, file: str, gaps: Sequence[str]) -> dict[str, Any]:
    """Return `target` of the hospital's site.yaml."""
    values = {word: name for name, word in _own_words(task, words).items()}
    parts: dict[str, dict[str, Any]] = {}
    for part in task.parts:
        source: dict[str, Any] = {"file": file, "column": _column(words, part.name)}
        parts[part.name] = source | ({"values": dict(values)} if values else {}) | {"missing": list(gaps)}
    return parts.get(TARGET) or {"columns": parts}


def _column(words: Dialect, part: str) -> str:
    return words.outcome if part == TARGET else f"{words.outcome}_{part}"


def _own_words(task: Task, words: Dialect) -> Mapping[str, str]:
    """The study's words in the hospital's language, where that has any for them."""
    usual = {*task.vocabulary} == {*CLASSES}
    return dict(zip(CLASSES, words.outcomes, strict=True)) if usual else {}
