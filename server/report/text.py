"""Numbers as a person reads them, and text that is safe to show."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

from common.tasks import measure_of

NONE = "–"


def measure_name(key: str, *, short: bool = False) -> str:
    """Return the name of the measure of this key, for a narrow column if `short`."""
    measure = measure_of(key)
    return measure.column if short else measure.name


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits with a true minus; nan, infinities and None as a dash."""
    if value is None or not math.isfinite(value):
        return NONE
    if abs(value) >= 1e6:
        return f"{value:.2e}".replace("-", "−")
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def count(value: float | str | None) -> str:
    """Patients or sites: whole, with thin spaces; noisy counts are rounded; a withheld cell stays as it is."""
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return NONE
    return f"{round(value):,}".replace(",", "\u202f").replace("-", "−")


def size(value: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 99.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def percent(part: float | str | None, whole: float | None, digits: int = 0) -> str:
    if isinstance(part, str) or part is None or not whole or not math.isfinite(part / whole):
        return NONE
    return f"{100 * part / whole:.{digits}f}\u202f%"


def shown(value: Any) -> Any:
    """Replace what would not print or would reorder its neighbours: control, surrogate and bidirectional characters."""
    if type(value) is not str:  # Markup is a str, and already made
        return value
    return "".join("\ufffd" if _hidden(letter) else letter for letter in value)


def _hidden(letter: str) -> bool:
    if letter in "\n\t":
        return False
    kind = unicodedata.category(letter)
    return kind in ("Cc", "Cs") or unicodedata.bidirectional(letter) in _REORDERING


_REORDERING = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
