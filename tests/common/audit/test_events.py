"""No free text: an event takes numbers, digests and words of closed lists, and nothing else goes in."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from common.disk.audit import Audit, Event, Joined, Refused
from common.disk.audit_events import REQUEST_KINDS
from common.errors import AuditError, BudgetError
from common.messages import MESSAGE_TYPES
from tests.support.audit import COUNTS, EXAMPLES, KINDS, NAME, RUN, STUDY


def test_the_requests_are_those_of_the_wire() -> None:
    assert {kind.__name__ for kind in MESSAGE_TYPES} == REQUEST_KINDS


REFUSED: dict[str, list[Any]] = {
    "study": ["", NAME, STUDY[:-1], STUDY + "\n", STUDY.upper(), "g" * 64, bytes(32), None],
    "run": ["", NAME, "demo", RUN + "\n", RUN + "0", "0123456789abcdeF", "٠" * 16, None],
    **{name: [-1, 2**63, True, 1.0, "1", NAME] for name in COUNTS},
    "key": ["", NAME, STUDY[:-1], STUDY + "\n", STUDY.upper(), bytes(32), None],
    "digest": ["", NAME, STUDY[:-1], STUDY + "\n", STUDY.upper(), bytes(32), None],
    "outcome": ["", NAME, "Completed", "failed: " + NAME, None],
    "account": ["", NAME, "train", None, ["training"]],
    "part": ["", NAME, "training ", "Training", None, ["training"]],
    "error": ["", NAME, "Error: " + NAME, "1Error", "A" * 61, "a.b", None],
    "place": ["", NAME, "work, line 3", "1", "a" * 61, "a.b", None],
    "epsilon": [-0.1, float("nan"), float("inf"), 1, "1.0", NAME, None],
    "request": ["", NAME, "RoundReply", "Refusal", "RoundRequest ", None, ["RoundRequest"]],
    "code": ["", NAME, "error: " + NAME, "BUDGET", "budget\n", None, {"code": "budget"}],
    "version": ["", NAME, "1", "1956.03.12", "12.03.1956", "1.0.0 " + NAME, "1.0.0+local", None],
}


class Text(str):
    """Equal to a word of the list, but carries more."""


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_no_field_takes_text_or_another_type(event: Event) -> None:
    for field in dataclasses.fields(event):
        present = getattr(event, field.name)
        subtypes = [Text(present)] if isinstance(present, str) else []
        for value in [*REFUSED[field.name], *subtypes, object()]:
            with pytest.raises(AuditError, match=rf"^{type(event).__name__}\.{field.name}: ") as caught:
                dataclasses.replace(event, **{field.name: value})
            assert NAME not in str(caught.value)


def test_each_kind_was_tried() -> None:
    assert {type(event) for event in EXAMPLES} == set(KINDS)


def test_only_the_counts_that_may_be_unknown_may_be_none() -> None:
    assert Refused("unreadable", "error").number is None
    nothing: Any = None
    with pytest.raises(AuditError):
        Joined(STUDY, RUN, nothing)


@dataclasses.dataclass(frozen=True)
class Remark:
    text: str


@dataclasses.dataclass(frozen=True)
class JoinedToo(Joined):
    """Nothing but another class: nobody would read it again."""


@dataclasses.dataclass(frozen=True)
class JoinedWithRemark(Joined):
    text: str


def test_nothing_but_the_events_goes_in(path: Path) -> None:
    foreign: Any
    for foreign in (NAME, {"text": NAME}, Remark(NAME), JoinedToo(STUDY, RUN, 1), BudgetError(NAME), None, Joined):
        with pytest.raises(AuditError) as caught:
            Audit(path).append(foreign)
        assert NAME not in str(caught.value)
    with pytest.raises(AuditError):
        JoinedWithRemark(STUDY, RUN, 1, NAME)
    assert not path.exists()
