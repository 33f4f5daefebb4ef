"""Figure: one number that a benchmark measured, and the bar that it should hold."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import Any

_SIGNS = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt, "==": operator.eq}
_BAR = re.compile(r"(<=|>=|<|>|==) *(-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)")
_KEY = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+")


@dataclass(frozen=True)
class Figure:
    """`key`: "group.figure"; `value`: None where it was not run; `bar`: such as "<= 1.3"; `note`: how it was measured.

    Raises ValueError for a bar that is none, and for a bar on a value in words.
    """

    key: str
    value: float | str | None
    bar: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"{self.key!r} is not of the form group.figure")
        if self.bar is not None and not _BAR.fullmatch(self.bar):
            raise ValueError(f"{self.key}: {self.bar!r} is no bar; write one of <= >= < > == and a number")
        if self.bar is not None and isinstance(self.value, str):
            raise ValueError(f"{self.key}: a value in words holds no bar")

    @property
    def group(self) -> str:
        return self.key.partition(".")[0]

    @property
    def holds(self) -> bool | None:
        """Whether the value is within its bar; None without a bar or a value. What is not a number holds none."""
        if self.bar is None or self.value is None or isinstance(self.value, str):
            return None
        sign, limit = re.split(r"(?<=[<>=]) *(?=[-.\d])", self.bar)
        return bool(_SIGNS[sign](float(self.value), float(limit)))

    def entry(self, machine: str) -> dict[str, Any]:
        """As it stands in bench.json, below its key; `machine` says how busy the machine was."""
        note = f"{self.note} [{machine}]" if self.note else f"[{machine}]"
        return {"value": _plain(self.value), "bar": self.bar, "holds": self.holds, "note": note}


def _plain(value: float | str | None) -> float | int | str | None:
    """A number as strict JSON knows it: one of numpy or torch becomes Python's, nan and infinity become words."""
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)
