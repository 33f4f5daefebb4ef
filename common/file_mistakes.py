"""Mistakes in a YAML file: each with its place, its line and the way out, and what is left of the file without them."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from pydantic_core import ErrorDetails

from common.mistake_words import KEYS, TAGS, choice, due

Place = tuple[str | int, ...]  # keys and positions, from the top of a file

ALIEN_KEYS = 7  # missing, or unknown: then somebody took the wrong file, and must not be told to mend it
LARGE = 1e9  # stands for an infinite number, to read on
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING = ("missing", "missing_argument")


def listed(name: str, mistakes: Sequence[str]) -> str:
    """Return all mistakes of a file as one text, a line each."""
    plural = "mistake" if len(mistakes) == 1 else "mistakes"
    return f"{name}: {len(mistakes)} {plural}:\n" + "\n".join(f"  {mistake}" for mistake in mistakes)


def said(entry: ErrorDetails, place: Place, kind: Any, value: Any, lines: Mapping[Place, int]) -> str:
    """Return one mistake in words, with its place and the line that it is in.

    place: where it is, or would be, in the plain content `value` of a file of this kind
    """
    text = _what(entry, place, kind, value)
    if not place and _named(text, lines):
        return with_line(text, lines)
    if entry["type"] in TAGS:
        place = (*place, entry["ctx"]["discriminator"].strip("'"))
    where = ".".join(map(str, place)) or "(top)"
    here = place if place in lines else place[:-1]  # of what is missing, what it is missing in
    line = f" (line {lines[here]})" if here in lines and here else ""
    return f"{shown(where)}: {text}{line}"


def with_line(text: str, lines: Mapping[Place, int]) -> str:
    """Return a sentence that begins with a place of the file, and the line of it, or of what it would stand in; the
    sentence alone where the file has neither.
    """
    place = _named(text, lines)
    return f"{text} (line {lines[place]})" if place else text


def _named(text: str, lines: Mapping[Place, int]) -> Place:
    """Return the first place that a sentence begins with, as far as the file has it."""
    words = text.partition(":")[0].partition(",")[0].split(".")
    place: Place = tuple(int(word) if word.isdigit() else word for word in words)
    while place and place not in lines:
        place = place[:-1]
    return place


def _what(entry: ErrorDetails, place: Place, kind: Any, value: Any) -> str:
    known = entry.get("ctx", {})
    if entry["type"] in _UNKNOWN:
        near = difflib.get_close_matches(str(place[-1]), _keys_at(kind, place, value), n=1) if place else []
        meant = f"did you mean {near[0]}? " if near else ""
        return f"unknown key; {meant}remove it or correct its spelling"
    if entry["type"] in _MISSING:
        return "missing; add this key" if isinstance(entry["loc"][-1], str) else "a value is missing; add it"
    if not place and due(entry["type"], known) == KEYS:
        return "keys with values must stand here; is it the right file?"
    told = choice(entry["type"], known, value_at(value, place)) or due(entry["type"], known)
    return told or entry["msg"].removeprefix("Value error, ")


def told_once(entries: Sequence[ErrorDetails], places: Sequence[Place]) -> list[tuple[ErrorDetails, Place]]:
    """Return the mistakes with their places, one for each place: where one of several kinds of value may stand,
    pydantic tells what is wrong with it as each of them.
    """
    found = dict[tuple[Place, bool, str], tuple[ErrorDetails, Place]]()
    for entry, place in zip(entries, places, strict=True):
        is_type = entry["type"].endswith(("_type", "_parsing"))
        if is_type and any(place == other[: len(place)] and place != other for other in places):
            continue  # it was read as the other kind, in which something deeper is wrong
        found.setdefault((place, is_type, "" if is_type else entry["msg"]), (entry, place))
    return [*found.values()]


def other_kind(name: str, entries: Sequence[ErrorDetails]) -> str:
    """Return that this is another kind of file, where these mistakes say so; else nothing."""
    missing, unknown = _at_top(entries, "missing"), _at_top(entries, "unexpected_keyword_argument")
    if missing[1:] and unknown[1:] and len(missing + unknown) >= ALIEN_KEYS:
        there = shown(", ".join(unknown[:8]))
        return f"{name}: is another kind of file. It has no {', '.join(missing)}; it has {there}. Is it the right file?"
    return ""


def _at_top(entries: Sequence[ErrorDetails], kind: str) -> list[str]:
    """The file's own keys of which this is said."""
    return [str(entry["loc"][0]) for entry in entries if entry["type"] == kind and len(entry["loc"]) == 1]


def shown(text: str) -> str:
    """Return the text with a question mark for whatever does not print: keys come from whoever wrote the file, and
    nothing in them may command the reader's terminal.
    """
    return "".join(sign if sign.isprintable() else "?" for sign in text)


# ------------------------------------------------------------------------------------------------- places in a file


def place_of(content: Any, entry: ErrorDetails) -> Place:
    """Return the place of a mistake in the plain content of a file; of what is missing, where it would stand."""
    place, last = place_in(content, entry["loc"]), entry["loc"][-1:]
    is_key = (
        entry["type"] in _MISSING and bool(last) and isinstance(last[0], str)
    )  # of a list that is too short, it is the list
    return (*place, *last) if is_key else place


def place_in(content: Any, loc: Sequence[str | int]) -> Place:
    """Return how far a place leads into the plain content of a file.

    loc: as pydantic has it, in which the kinds of a union stand between the keys
    """
    place, value = list[str | int](), content
    for part in loc:
        if part in (value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()):
            value = value[part]
            place.append(part)
    return tuple(place)


def value_at(value: Any, place: Place) -> Any:
    """Return what stands at a place of the plain content of a file; None where there is nothing."""
    for part in place:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def lines_of(text: str) -> dict[Place, int]:
    """Return the line of each key and item of a YAML text that can be read, counted from 1."""
    found = dict[Place, int]()
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    todo: list[tuple[Place, Any]] = [] if node is None else [((), node)]
    while todo:
        place, node = todo.pop()
        found.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, inner in node.value:
                found[*place, key.value] = key.start_mark.line + 1
                todo.append(((*place, key.value), inner))
        elif isinstance(node, yaml.SequenceNode):
            todo += [((*place, number), inner) for number, inner in enumerate(node.value)]
    return found


def without_places(value: Any, places: Collection[Place], stand_ins: Mapping[str, Any]) -> Any:
    """Return the plain content of a file without what stands at these places, or with finite numbers in place of
    infinite ones where it is wrong as a whole. None where that is no other content.

    stand_ins: what stands in, to read on, for keys of the file that it must have
    """
    if not isinstance(value, dict):
        return None
    changed = copy.deepcopy(value) if all(places) else _finite(value)
    for place in sorted(set(places), key=len, reverse=True):
        inner: Any = changed
        for part in place[:-1]:
            inner = inner[part]
        if len(place) == 1 and place[0] in stand_ins:
            changed[place[0]] = stand_ins[str(place[0])]
        elif isinstance(inner, list):
            inner[int(place[-1])] = None  # the others keep their places
        elif place:
            inner.pop(place[-1], None)
    return changed if repr(changed) != repr(value) else None


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return 0.0 if math.isnan(value) else math.copysign(LARGE, value)
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


# ------------------------------------------------------------------------------------------- what may stand in a file


def schemas(hint: Any) -> Iterator[Any]:
    """Yield the schema classes that a type names, in whatever it wraps them."""
    if dataclasses.is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from schemas(inner)


def fitting(value: Any, kinds: list[Any]) -> list[Any]:
    """Return, of several schema classes, those whose `kind` is the value's."""
    told = value.get("kind") if isinstance(value, dict) else None
    return [each for each in kinds if len(kinds) == 1 or told in get_args(get_type_hints(each).get("kind"))]


def _keys_at(kind: Any, place: Place, value: Any) -> list[str]:
    """The keys that may stand where this one does; none where any may."""
    kinds, named = [kind], False
    for part in place[:-1]:
        value = value[part]
        if named or isinstance(part, int):
            named = False
        else:
            hints = [get_type_hints(one)[part] for one in kinds if part in get_type_hints(one)]
            kinds, named = (
                [one for hint in hints for one in schemas(hint)],
                any(get_origin(hint) is dict for hint in hints),
            )
        kinds = kinds if named else fitting(value, kinds)
    return [] if named else [field.name for one in kinds for field in dataclasses.fields(one)]
