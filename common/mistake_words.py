"""What is due where a value in a YAML file is wrong, in plain words: pydantic's own are for who writes programs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

Context = Mapping[str, Any]  # what pydantic knows beside a mistake: bounds, lengths, the words that may stand there

KEYS = "write keys with values here, or take the key away"
_NEAR = 0.7  # from here on a word is near: `gpu` is not to become `cpu`
TAGS = ("union_tag_invalid", "union_tag_not_found")  # mistakes in the key that says of which kind a mapping is
_WORDS = r"'([^']*)'|(\d+)"  # a word that may stand there, or a number, as pydantic lists them
_NAME = "write a name of small letters, digits and _, at most 40, that begins with a letter"
_PATTERNS = {"^[a-z][a-z0-9_]{0,39}$": _NAME}
# The type of a mistake -> what is due, from the mistake's context.
_DUE: Mapping[str, Callable[[Context], str]] = {
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_from_float", "int_parsing_size"), lambda _: "write a whole number"
    ),
    **dict.fromkeys(("float_type", "float_parsing"), lambda _: "write a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), lambda _: "write true or false"),
    **dict.fromkeys(("dict_type", "dataclass_type", "model_attributes_type"), lambda _: KEYS),
    **dict.fromkeys(("list_type", "tuple_type"), lambda _: "write a list, as [a, b]"),
    "string_type": lambda _: "write a text, in quotes where it looks like a number or a yes or no",
    "path_type": lambda _: "write the path of a file or folder",
    "finite_number": lambda _: "write a finite number",
    "greater_than": lambda known: f"write a number above {_number(known['gt'])}",
    "greater_than_equal": lambda known: f"write a number of at least {_number(known['ge'])}",
    "less_than": lambda known: f"write a number below {_number(known['lt'])}",
    "less_than_equal": lambda known: f"write a number of at most {_number(known['le'])}",
    "string_too_short": lambda _: "write a text that is not empty",
    "too_long": lambda known: f"write {known['max_length']} values here, not {known['actual_length']}",
}


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def due(kind: str, known: Context) -> str:
    """Return what is due where there is a mistake of this type; nothing where only pydantic can say it."""
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(known.get("pattern")), "")
    return _DUE[kind](known) if kind in _DUE else ""


def choice(kind: str, known: Context, value: Any) -> str:
    """Return which words may stand where another does, and the nearest one; nothing for another mistake.

    value: what stands there, or the mapping whose kind is wrong
    """
    if kind == TAGS[1]:
        return "missing; add this key"
    if kind not in ("literal_error", TAGS[0]):
        return ""
    listed = known["expected" if kind == "literal_error" else "expected_tags"]
    words = [word or number for word, number in re.findall(_WORDS, listed)]
    if kind == TAGS[0]:
        value = value.get(known["discriminator"].strip("'")) if isinstance(value, dict) else None
    near = difflib.get_close_matches(value, words, n=1, cutoff=_NEAR) if isinstance(value, str) else []
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}write {words[0]}" if len(words) == 1 else f"{meant}write one of {', '.join(words)}"
