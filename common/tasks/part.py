"""Parts: what of a patient a target is made of, and where a hospital has it. Without numpy, for whoever reads files."""

from __future__ import annotations

from dataclasses import dataclass

TARGET = "target"  # the part of a task with one: site.yaml says under `target` itself where it is


@dataclass(frozen=True)
class Part:
    """One thing of a patient that a task learns from.

    name: by which site.yaml says, below `target`, where it is
    kind: of source: `column` of a table
    needed: whether a site takes part only with it
    """

    name: str = TARGET
    kind: str = "column"
    needed: bool = True
