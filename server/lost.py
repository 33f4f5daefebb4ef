"""Why a site is in no sum, or was lost in one: a value, which becomes words where a person reads it.

It is stored as text ("round: refused: budget", "join: no answer in time"), and read back in one place, `Lost.parse`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self, get_args

from common.errors import words_of
from common.protocols import speaker_of
from common.release import OF_0_1

Leg = Literal["join", "offer", "round", "confirm", "reveal"]
_REFUSED = "refused: "


class Silence(StrEnum):
    """Why a node that did not refuse gave nothing; the value is what is stored."""

    SILENT = "no answer in time"
    CONNECTION = "connection lost"
    UNREADABLE = "unreadable answer"
    UNACCEPTABLE = "unacceptable message"
    OLDER = "older protocol"
    NEWER = "newer protocol"
    NOT_BACK = "not back yet"  # of a site that said nothing since it was lost
    STAYS_OUT = "stays out"  # of one that is there, and is not asked to be in the sum

    @property
    def words(self) -> str:
        return _WORDS.get(self, self.value)


_WORDS = {
    Silence.OLDER: f"speaks an older protocol, of release 0.1. Nobody sums beside it: {OF_0_1}",
    Silence.NEWER: "speaks a newer protocol: install the newer release of wardround here",
    Silence.STAYS_OUT: "is there, and stays out: the others give no sum over other sites than before",
}


@dataclass(frozen=True)
class Refused:
    """It refused, with this public code of `common.errors`."""

    code: str

    @property
    def words(self) -> str:
        return words_of(self.code)

    def __str__(self) -> str:
        return f"{_REFUSED}{self.code}"


@dataclass(frozen=True)
class Speaks:
    """It was asked in a protocol that its release does not speak, and said which is the newest that it does."""

    spoken: int
    asked: int

    @property
    def words(self) -> str:
        return (
            f"speaks protocol {self.spoken} at most, of {speaker_of(self.spoken)}, and this study needs {self.asked}: "
            f"its people have to install {speaker_of(self.asked)} or a newer one"
        )

    def __str__(self) -> str:
        return f"speaks protocol {self.spoken}, asked in {self.asked}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        found = re.fullmatch(r"speaks protocol ([0-9]{1,9}), asked in ([0-9]{1,9})", text)
        return cls(int(found[1]), int(found[2])) if found else None


Why = Refused | Silence | Speaks


@dataclass(frozen=True)
class Lost:
    """In which leg of a sum a site was lost, and why. As text: what is stored."""

    leg: Leg
    why: Why

    @property
    def code(self) -> str:
        """The public code with which it refused; empty where it did not."""
        return self.why.code if isinstance(self.why, Refused) else ""

    @property
    def words(self) -> str:
        """For a person at the coordinator."""
        return f"{self.leg}: {self.why.words}"

    def __str__(self) -> str:
        return f"{self.leg}: {self.why}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what a stored text says; None for that of another release, which says something else."""
        leg, _, why = text.partition(": ")
        if leg not in get_args(Leg):
            return None
        if why.startswith(_REFUSED):
            return cls(leg, Refused(why.removeprefix(_REFUSED)))  # type: ignore[arg-type]
        if speaks := Speaks.parse(why):
            return cls(leg, speaks)  # type: ignore[arg-type]
        return cls(leg, Silence(why)) if why in list(Silence) else None  # type: ignore[arg-type]


def stored_words(text: str) -> str:
    """Return a stored reason for a person; as it is where another release wrote it."""
    lost = Lost.parse(text)
    return text if lost is None else lost.words
