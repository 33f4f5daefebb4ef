"""The border of YAML files: text in, frozen dataclasses out, every mistake at once, and no value quoted.

A class marked `@schema` is a plain frozen dataclass inside the program. At the border pydantic reads it: unknown keys
are refused, types are checked, and `__post_init__` may raise `ValueError` for what fields say together.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast, dataclass_transform, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from common.errors import WardroundError
from common.file_mistakes import (
    Place,
    fitting,
    lines_of,
    listed,
    other_kind,
    place_of,
    said,
    schemas,
    shown,
    told_once,
    with_line,
    without_places,
)
from common.format_number import KEY, NEWER, take_format
from common.other_section import other_sections

T = TypeVar("T")
Defaults = Callable[[dict[Any, Any], int], dict[Any, Any]]  # a file's plain content and its number -> filled in

SCHEMA = 2  # the newest number that a study.yaml or site.yaml may have
WIDELY_READ = 1  # of files that are made here: every release from 0.2 on reads them


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
def schema(cls: type[T]) -> type[T]:
    """Make a frozen, keyword-only dataclass whose file form refuses unknown keys and never echoes its input."""
    cls.__pydantic_config__ = ConfigDict(extra="forbid", hide_input_in_errors=True)  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def since(number: int, neutral: Any) -> Any:
    """Return the field of a key that schema `number` added, with the value that says what happened before it existed.

    The neutral value is the default, and is left out of digests and of stored text: an older study keeps its digest.
    """
    return dataclasses.field(default=neutral, metadata={"since": number, "neutral": neutral})


def since_of(number: int, neutral: Callable[[], Any]) -> Any:
    """As `since`, of a value that is made anew each time: an empty list or mapping."""
    return dataclasses.field(default_factory=neutral, metadata={"since": number, "neutral": neutral()})


def format_number(newest: int) -> Any:
    """Return the field `format` of a file that only wardround writes: see common/format_number.py.

    What is made now has the newest number; `parse` gives 0 to a file that has none, and refuses a newer one.
    """
    return dataclasses.field(default=newest, metadata={"newest": newest})


def read(path: Path, kind: type[T], error: Callable[[str], WardroundError], defaults: Defaults | None = None) -> T:
    """Read a YAML file as `kind`, or raise `error` with all that is wrong, each with its path in the file."""
    return parse(text_of(path, error), kind, error, str(path), defaults)


def text_of(path: Path, error: Callable[[str], WardroundError]) -> str:
    """A file's text, or `error` saying why there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}). Check the path and its permissions.") from None
    except UnicodeDecodeError:
        raise error(f"{path}: is not UTF-8 text. Save the file as UTF-8.") from None


def parse(
    text: str,
    kind: type[T],
    error: Callable[[str], WardroundError],
    name: str,
    defaults: Defaults | None = None,
) -> T:
    """As `read`, from text; `name` stands for the file in error messages.

    A kind with a field `schema` is a numbered file: an absent number means 0, and a file of a newer schema than
    `SCHEMA` is refused as newer. `defaults` fills in what a file of its number leaves out, before it is checked.
    """
    found, mistakes = read_in_part(text, kind, error, name, defaults)
    if mistakes or found is None:
        raise error(listed(name, mistakes))
    return found


def read_in_part(
    text: str,
    kind: type[T],
    error: Callable[[str], WardroundError],
    name: str,
    defaults: Defaults | None = None,
    stand_ins: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[T | None, list[str]]:
    """As `parse`, but return all mistakes, each with its place and line, and what can be read of the file without them:
    to look for what else is wrong, and for nothing else. None where too little is left.

    stand_ins: what stands in then for keys that the file must have
    Raises `error` for what is no such file at all: no YAML, of a newer schema, or another kind of file.
    """
    value = _loaded(text, kind, error, name, defaults)
    lines, told, without = lines_of(text), list[str](), set[Place]()
    while True:
        try:
            return cast(T, _adapter(cast(Any, kind)).validate_python(value)), told
        except ValidationError as problem:
            entries = problem.errors(include_url=False, include_input=False)
        if not told and (other := other_kind(name, entries)):
            raise error(other)
        places = [place_of(value, entry) for entry in entries]
        moved = other_sections(kind, value, places)
        told += [with_line(f"{shown('.'.join(map(str, place)))}: {words}", lines) for place, words in moved.items()]
        without |= {*moved}
        told += [
            said(entry, place, kind, value, lines)
            for entry, place in told_once(entries, places)
            if not any(place[: len(one)] == one[: len(place)] for one in without) or not place
        ]
        places = [next((one for one in moved if place[:2] == one), place) for place in places]
        taken = [place if place in moved else _above(place, without) for place in places]
        value = without_places(value, taken, stand_ins)
        if value is None:
            return None, told
        without |= {*taken}


def _above(place: Place, without: set[Place]) -> Place:
    """The place, or the nearest above it that is still there."""
    while place and place in without:
        place = place[:-1]
    return place


def _loaded(text: str, kind: Any, error: Callable[[str], WardroundError], name: str, defaults: Defaults | None) -> Any:
    """Return the plain content of a file of this kind, with the defaults of its schema number."""
    try:
        value = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 (a SafeLoader that also refuses repeated keys)
    except yaml.reader.ReaderError:
        raise error(f"{name}: holds characters that no text has. Save the file as UTF-8 text.") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "an unknown line"
        raise error(f"{name}: is not valid YAML at {where}: {shown(str(problem.problem))}.") from None
    except (ValueError, TypeError, RecursionError):  # a 30th of February, a number of a million digits, lists in lists
        raise error(f"{name}: holds a value that YAML cannot be read as. Write plain texts and numbers.") from None
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if isinstance(value, dict) and KEY in fields:
        value = {KEY: take_format(value, fields[KEY].metadata["newest"], name, error)} | value
    if isinstance(value, dict) and "schema" in fields:
        number = _number(value, error, name)
        value = value if defaults is None else defaults(value, number)
        if early := _early(value, kind, number):
            raise error(
                f"{name}: {', '.join(early)}: of a later schema than this file's, {number}. Begin the file with "
                f"`schema: {max(early.values())}`, which has other defaults too: read them before anybody approves it."
            )
    return value


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """What checks a kind. Made once a process: to make it costs more than to read a file."""
    return TypeAdapter(kind)


def _number(value: dict[Any, Any], error: Callable[[str], WardroundError], name: str) -> int:
    number = value.get("schema", 0)
    if type(number) is not int or number < 0:
        raise error(f"{name}: schema: a whole number, 0 to {SCHEMA}; without the key it is 0.")
    if number > SCHEMA:
        raise error(f"{name}: is of schema {number}, and this release of wardround reads up to {SCHEMA}. {NEWER}")
    return number


def _early(value: Any, kind: Any, number: int, where: str = "") -> dict[str, int]:
    """The keys in a plain mapping that a file of this schema number does not have yet: place -> the number that has."""
    if isinstance(value, list):
        return {key: first for item in value for key, first in _early(item, kind, number, where).items()}
    if not isinstance(value, dict):
        return {}
    found, hints = dict[str, int](), get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name not in value:
            continue
        place, inner = f"{where}{field.name}", value[field.name]
        if field.metadata.get("since", 0) > number and inner != field.metadata["neutral"]:
            found[place] = field.metadata["since"]
            continue
        for at, part, kinds in _inner(inner, hints[field.name], place):
            for one in fitting(part, kinds):
                found |= _early(part, one, number, f"{at}.")
    return found


def _inner(value: Any, hint: Any, place: str) -> Iterator[tuple[str, Any, list[Any]]]:
    """The mappings in a value that are schema objects: their places, their contents, and what they may be."""
    kinds = list(schemas(hint))
    if get_origin(hint) is dict and isinstance(value, dict):
        yield from ((f"{place}.{name}", part, kinds) for name, part in value.items())
    elif kinds:
        yield place, value, kinds


def plain(value: Any) -> Any:
    """A schema object as plain dicts and lists, as YAML and JSON know them; without neutral values of later keys."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if "since" not in field.metadata or getattr(value, field.name) != field.metadata["neutral"]
        }
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def digest(value: Any) -> str:
    """SHA-256, in hex, of the canonical JSON of a schema object: defaults written out, order of named parts kept."""
    text = json.dumps(plain(value), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dump(value: Any) -> str:
    """A schema object as YAML text."""
    return yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=110)


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets a later key silently replace an earlier one; in a privacy setting that must not pass. Nor does an
    alias: some lines of them make a file that fills any memory.
    """

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, "an alias (`*name`) is not read here, write out what it stands for",
                cast(Any, self).peek_event().start_mark,
            )  # fmt: skip
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
