"""Split: which part of the cohort a patient belongs to. It depends on that patient and the study, on nobody else."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from common.study import Split

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


def rank(patient: str, split: Split) -> int:
    """64 bits of HMAC-SHA256 of the patient's number under the study's key; also the order of cases in a part.

    Of the number in the hospital's files and not of the pseudonym: a site that loses its secret must not find its
    test patients among its training patients afterwards, and a simulated study must be the same twice.
    """
    digest = hmac.new(split.key.encode(), b"split\0" + patient.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big")


def part_by_hash(patient: str, split: Split) -> Part:
    """Parts of the expected sizes; a patient keeps its part when others come and go."""
    place = rank(patient, split) / 2**64
    if place < split.test:
        return "test"
    return "validation" if place < split.test + split.validation else "train"


def part_by_word(word: str, split: Split) -> Part:
    """The part that the study gives to a word of its split column; words that it does not name mean training."""
    if word in split.test_values:
        return "test"
    return "validation" if word in split.validation_values else "train"
