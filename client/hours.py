"""Hours of work: a daily window of local time, which may go over midnight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time
from typing import Self

_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True)
class Hours:
    """From `start` on, and before `end`. Where `end` is not after `start`, it is that of the next day."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "22:00-06:00". ValueError for anything else, and for a window whose two ends are one."""
        found = _WINDOW.fullmatch(text)
        if found is None:
            raise ValueError('hours are written as "HH:MM-HH:MM", from 00:00 to 23:59')
        first, minute, last, end_minute = map(int, found.groups())
        start, end = time(first, minute), time(last, end_minute)
        if start == end:
            raise ValueError("hours that end when they start are none; leave the key out for the whole day")
        return cls(start, end)

    def contains(self, now: time) -> bool:
        """Whether this local time lies in the window."""
        if self.start < self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"
