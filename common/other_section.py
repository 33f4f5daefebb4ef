"""Entries that stand in the wrong section of a file: what is in them is what another section's entries have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, get_origin, get_type_hints

from common.file_mistakes import Place, schemas, value_at


def other_sections(kind: Any, value: Any, places: Iterable[Place]) -> dict[Place, str]:
    """Return, by the place of each entry that is in the wrong section, in words where it fits.

    kind: of the file. value: its plain content. places: of what is wrong in it
    """
    sections = _sections(kind)
    found = dict[Place, str]()
    for place in {place[:2] for place in places if place[1:]}:
        keys = value_at(value, place)
        if place[0] not in sections or not isinstance(keys, dict) or _fits(keys, sections[str(place[0])]):
            continue
        if fits := [section for section, one in sections.items() if _fits(keys, one)]:
            found[place] = f"is in the wrong section: what it says fits {' or '.join(fits)}. Move it there"
    return found


def _sections(kind: Any) -> Mapping[str, Any]:
    """The file's own keys under which entries of one kind stand, by names that whoever writes it gives them."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if get_origin(hint) is dict}
    return {name: one for name, hint in hints.items() for one in schemas(hint) if len([*schemas(hint)]) == 1}


def _fits(keys: Mapping[Any, Any], one: Any) -> bool:
    """Whether an entry of this kind may have these keys, and all that it must have is among them."""
    fields = dataclasses.fields(one)
    missing = dataclasses.MISSING
    needed = {field.name for field in fields if field.default is missing and field.default_factory is missing}
    return needed <= {*keys} <= {field.name for field in fields}
