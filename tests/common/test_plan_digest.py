"""The digest of a plan, which is in the transcript of a sum, holds all that it says; what 0.2 could say has its own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from common.plan import RoundPlan

PLAN = RoundPlan(
    "ab" * 32,
    "0" * 16,
    3,
    1,
    ("update", "validation"),
    ("a", "b", "c"),
    {"shared": ("a", "b", "c"), "scan": ("a", "b")},
    np.arange(5, dtype=np.float32),
    {"labs": (np.array([1.0, 2.0]), np.array([0.5, 0.25]))},
    2.5,
    {"age/1/below": np.array([3.0]), "age/1/known": np.array([4.0])},
)
OTHERS: dict[str, list[Any]] = {
    "study": ["ac" * 32],
    "run": ["1" * 16],
    "round": [4],
    "attempt": [2],
    "asks": [("update",), ("validation",), ("update", "test"), ("statistics", "update", "validation"), (),
             ("validation", "update"), ("update", "validation", "validation"), ("update", "inquiry/age")],
    "sites": [("a", "b"), ("a", "c", "b")],
    "owners": [{"shared": ("a", "b", "c")}, {"scan": ("a", "b"), "shared": ("a", "b", "c")},
               {"shared": ("a", "b", "c"), "scan": ("a", "c")}],
    "weights": [np.arange(5, dtype=np.float32) + np.float32(1e-6), np.arange(4, dtype=np.float32)],
    "normaliser": [{}, {"labs": (np.array([1.0, 2.0]), np.array([0.5, 0.25 + 1e-12]))}],
    "seconds": [0.0],
    "opened": [{}, {"age/1/below": np.array([3.0])}, {"age/1/below": np.array([4.0]), "age/1/known": np.array([4.0])},
               {"age/2/below": np.array([3.0]), "age/1/known": np.array([4.0])},
               {"age/1/below": np.array([3.0]), "age/1/known": np.array([4.0, 4.0])}],
}  # fmt: skip


def test_another_plan_in_any_field_has_another_digest() -> None:
    assert {*OTHERS} == {field.name for field in fields(RoundPlan)}
    found = [PLAN.digest]
    for name, values in OTHERS.items():
        found += [replace(PLAN, **{name: value}).digest for value in values]
    assert len({*found}) == len(found)


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        (("statistics",), (True, False, "")),
        (("update",), (False, True, "")),
        (("update", "validation"), (False, True, "validation")),
        (("test",), (False, False, "test")),
        ((), (False, False, "")),
    ],
)
def test_a_plan_that_0_2_could_say_has_the_digest_that_it_had(asks: tuple[str, ...], said: tuple[Any, ...]) -> None:
    plan = replace(PLAN, asks=asks, opened={})
    head = {
        "study": plan.study, "run": plan.run, "round": 3, "attempt": 1, "seconds": 2.5, "sites": ["a", "b", "c"],
        **dict(zip(("statistics", "train", "evaluate"), said, strict=True)),
        "owners": [["shared", ["a", "b", "c"]], ["scan", ["a", "b"]]],
        "normaliser": {"labs": [[1.0, 2.0], [0.5, 0.25]]},
    }  # fmt: skip
    text = json.dumps(head, sort_keys=True, separators=(",", ":")).encode()
    assert plan.digest == hashlib.sha256(text + b"\0" + plan.weights.astype("<f4").tobytes()).digest()
