"""Losses: what is there and cannot be used, by place and reason, out of the counts of a cohort.

Counts are a flat mapping of words to numbers. Its keys tell by their form what they count:

    images.xray: images                      how many there are, of whatever use
    images.xray: images that cannot be …     LOST: so many of those, for this reason
    target: patients without a value         anything else: left out, and no loss (a gap, an absent modality)

They are for the eyes of the site: where there is differential privacy no count leaves it without noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LOUD_WORD = "LOST MUCH"
SHOWN = 20  # kinds of loss
LOUD = 0.1  # a larger part of what is there is said aloud
_WHOLE = re.compile(r"[^:]+: \w+")  # the form of a key that says how many there are
_NOT_LEFT_OUT = (" replaced", " keep that one")  # by the gate, in notes; in their part, which readiness warns of
_ONE = re.compile(r"^patients\b(?!.* (?:are|have|do)\b)")  # what can be said of one patient in the same words


@dataclass(frozen=True)
class Loss:
    """`number` of the `of` things called `what` cannot be used, in words: `reason` follows `what` in a sentence."""

    what: str
    reason: str
    number: int
    of: int

    @property
    def text(self) -> str:
        place, _, unit = self.what.partition(": ")
        return f"{place}: {self.number:,} of {self.of:,} {unit} {self.reason}"


def losses(counts: Mapping[str, int]) -> list[Loss]:
    """Return every loss, the largest part first."""
    found = [
        Loss(whole, what.removeprefix(whole).strip(), number, counts[whole])
        for what, number in counts.items()
        if number and (whole := _whole(what, counts))
    ]
    return sorted(found, key=lambda loss: (-loss.number / max(1, loss.of), loss.text))


def _whole(what: str, counts: Mapping[str, int]) -> str:
    """The key that says how many there are of what this key says is lost; "" where it counts no loss."""
    place, _, words = what.partition(": ")
    whole = f"{place}: {words.split(' ', 1)[0]}"
    return whole if whole != what and whole in counts else ""


def left_out(counts: Mapping[str, int]) -> list[str]:
    """Return what else was passed over, a sentence each: gaps, other files, patients without any modality."""
    plain = {what: number for what, number in counts.items() if number and not _whole(what, counts)}
    return [_sentence(what, number) for what, number in sorted(plain.items()) if not _WHOLE.fullmatch(what)]


def _sentence(what: str, number: int) -> str:
    place, colon, words = what.partition(": ") if ": " in what else ("", "", what)
    return f"{place}{colon}{number:,} {_ONE.sub('patient', words) if number == 1 else words}"


def loud(found: list[Loss]) -> list[str]:
    """Return a sentence for each kind of thing of which more than `LOUD` is lost, all reasons together."""
    lost: dict[str, tuple[int, int]] = {}
    for loss in found:
        number, _ = lost.get(loss.what, (0, 0))
        lost[loss.what] = number + loss.number, loss.of
    return [
        f"{place}: {number:,} of {of:,} {unit} are LOST, {100 * number / max(1, of):.0f} %"
        for what, (number, of) in lost.items()
        for place, _, unit in [what.partition(": ")]
        if number > LOUD * of
    ]


def told(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield the lines that a person of the site reads: what is lost above `LOUD` first, then each reason."""
    found = losses(counts)
    yield from (f"{LOUD_WORD}: {sentence}" for sentence in loud(found))
    yield from (f"lost: {loss.text}" for loss in found[:SHOWN])
    if found[SHOWN:]:
        yield f"lost: and {sum(loss.number for loss in found[SHOWN:]):,} more, in {len(found[SHOWN:]):,} kinds"
    yield from (f"left out: {words}" for words in left_out(counts) if not words.endswith(_NOT_LEFT_OUT))
