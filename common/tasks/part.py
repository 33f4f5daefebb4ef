"""Parts: what of a patient a target is made of, and where a hospital has it. Without numpy, for whoever reads files."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_OF = {"mask": "image"}  # kind of source -> the kind of modality that it is beside; others are beside none
TARGET = "target"  # the part of a task with one: site.yaml says under `target` itself where it is


@dataclass(frozen=True)
class Part:
    """One thing of a patient that a task learns from.

    name: by which site.yaml says, below `target`, where it is
    kind: of source: `column` of a table; `mask`, a patient's DICOM images beside those of a modality, 0 where outside
    beside: the modality of the study, where the kind is beside one
    needed: whether a site takes part only with it
    """

    name: str = TARGET
    kind: str = "column"
    beside: str | None = None
    needed: bool = True
