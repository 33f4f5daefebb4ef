"""What fields of a study say together, and may not: each refusal, beside the same file without the fault."""

from __future__ import annotations

import ast
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from common import study as module
from common.errors import StudyError
from common.study import parse_study

WHOLE: dict[str, Any] = {
    "schema": 1,
    "study": "whole",
    "task": {"kind": "binary", "classes": ["alive", "dead"]},
    "modalities": {
        "scan": {"kind": "image", "intensity": "window", "window": [40, 400]},
        "chart": {"kind": "record", "numeric": {"age": {"low": 0, "high": 110, "mean": 60, "sd": 15}}},
        "letter": {"kind": "note", "encoder": {"source": "folder", "folder": "bert", "width": 32, "heads": 2}},
        "panel": {"kind": "sequence", "genes": ["EGFR", "TP53"], "low": -5, "high": 5, "mean": [0, 1], "sd": 2},
    },
    "rounds": 3,
    "fusion": {"kind": "attention", "width": 32, "heads": 2},
    "training": {"optimiser": "adam"},
    "privacy": {"mode": "none"},
    "split": {"column": "year", "validation_values": ["2020"], "test_values": ["2021"]},
}
# (where, what stands there, the place that is named, the sentence)
FAULTS: list[tuple[str, Any, str, str]] = [
    ("task.classes", ["dead", "dead"], "task", "classes must differ from each other"),
    ("task.classes", ["a", "b", "c"], "task", "a binary task has exactly two classes: [negative, positive]"),
    ("task.kind", "multiclass", "task", "a multiclass task has three classes or more; for two, use kind: binary"),
    ("modalities.scan.window", None, "modalities.scan", "window: [centre, width] goes with intensity: window"),
    ("modalities.scan.intensity", "range", "modalities.scan", "window: [centre, width] goes with intensity: window"),
    ("modalities.chart.numeric.age.low", 110, "modalities.chart", "low must be below high"),
    ("modalities.chart.numeric.age.sd", None, "modalities.chart", "give mean and sd together, or neither"),
    ("modalities.chart.numeric", {}, "modalities.chart", "a record has at least one numeric or categorical column"),
    ("modalities.chart.categorical", {"age": ["old"]}, "modalities.chart", "a column is numeric or categorical"),
    ("modalities.letter.encoder.source", "config", "modalities.letter", "folder: NAME goes with source: folder"),
    ("modalities.letter.encoder.folder", None, "modalities.letter", "folder: NAME goes with source: folder"),
    ("modalities.letter.encoder.heads", 3, "modalities.letter", "width must be a multiple of heads"),
    ("modalities.panel.genes", [], "modalities.panel", "genes must be a list of different names, at least one"),
    ("modalities.panel.genes", ["A", "A"], "modalities.panel", "genes must be a list of different names, at least one"),
    ("modalities.panel.high", -5, "modalities.panel", "low must be below high"),
    ("modalities.panel.mean", [0, 1, 2], "modalities.panel", "mean has one number, or one for each gene"),
    ("modalities.panel.sd", [1.0], "modalities.panel", "sd has one number, or one for each gene"),
    ("fusion.heads", 5, "fusion", "width must be a multiple of heads"),
    ("training.momentum", 0.9, "training", "momentum belongs to optimiser: sgd; adam has its own"),
    ("split.column", None, "split", "validation_values and test_values go with column"),
    ("split.test_values", ["2020"], "split", "a value cannot mean both validation and test"),
    ("split", {"validation": 0.5, "test": 0.5}, "split", "validation and test leave nobody to train on"),
    ("modalities", {}, "", "modalities: a study has at least one"),
    ("modalities.shared", {"kind": "note"}, "", "modalities.shared: the name is taken by the parameters"),
    ("split.key", "a\u202eb", "", "a text has at most 100 characters, all of which a screen shows in their place"),
    ("split.key", "a" * 101, "", "a text has at most 100 characters, all of which a screen shows in their place"),
    ("modalities.panel.low", float("-inf"), "", "modalities.panel.low: write a finite number"),
    ("modalities.chart.numeric.age.high", 1e39, "", "modalities.chart.numeric.age: low and high are further apart"),
]  # fmt: skip


def changed(where: str, what: Any) -> str:
    content = deepcopy(WHOLE)
    *parents, last = where.split(".")
    place = content
    for key in parents:
        place = place[key]
    place[last] = what
    return yaml.safe_dump(content)


def test_the_file_without_a_fault_is_read() -> None:
    assert parse_study(yaml.safe_dump(WHOLE)).study == "whole"


@pytest.mark.parametrize(("where", "what", "place", "sentence"), FAULTS)
def test_what_fields_may_not_say_together_is_refused_in_a_sentence(where, what, place, sentence) -> None:
    with pytest.raises(StudyError) as refused:
        parse_study(changed(where, what))
    told = str(refused.value)
    assert sentence in told and place in told, told


def test_each_refusal_of_the_schema_has_a_fault_here() -> None:
    """A sentence that is added without a test is named: of a study, of each kind of modality and of each task."""
    common = Path(module.__file__).parent
    files = [
        common / "study.py",
        *sorted((common / "modalities").glob("*.py")),
        *sorted((common / "tasks").glob("*.py")),
    ]
    raised = [
        node.exc.args[0]
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") == "ValueError"
    ]
    assert len(raised) >= 22
    told = [sentence for *_, sentence in FAULTS]
    for text in raised:
        parts = text.values if isinstance(text, ast.JoinedStr) else [text]
        fixed = [part.value for part in parts if isinstance(part, ast.Constant)]
        longest = max(fixed, key=len)[:30]
        assert any(longest in sentence or sentence in longest for sentence in told), longest
