"""The border of YAML files: text in, frozen dataclasses out, every mistake at once, and no value quoted.

A class marked `@schema` is a plain frozen dataclass inside the program. At the border pydantic reads it: unknown keys
are refused, types are checked, and `__post_init__` may raise `ValueError` for what fields say together.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast, dataclass_transform, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from common.errors import WardroundError
from common.format_number import KEY, NEWER, take_format

T = TypeVar("T")
Defaults = Callable[[dict[Any, Any], int], dict[Any, Any]]  # a file's plain content and its number -> filled in

SCHEMA = 1  # the newest number that a study.yaml or site.yaml may have

ALIEN_KEYS = 7  # missing, or unknown: then somebody took the wrong file, and must not be told to mend it


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
    try:
        value = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 (a SafeLoader that also refuses repeated keys)
    except yaml.reader.ReaderError:
        raise error(f"{name}: holds characters that no text has. Save the file as UTF-8 text.") from None
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "an unknown line"
        raise error(f"{name}: is not valid YAML at {where}: {_shown(str(problem.problem))}.") from None
    except (ValueError, TypeError, RecursionError):  # a 30th of February, a number of a million digits, lists in lists
        raise error(f"{name}: holds a value that YAML cannot be read as. Write plain texts and numbers.") from None
    fields = {field.name: field for field in dataclasses.fields(cast(Any, kind))}
    if isinstance(value, dict) and KEY in fields:
        value = {KEY: take_format(value, fields[KEY].metadata["newest"], name, error)} | value
    if isinstance(value, dict) and "schema" in fields:
        number = _number(value, error, name)
        value = value if defaults is None else defaults(value, number)
        if early := _early(value, kind, number):
            raise error(
                f"{name}: {', '.join(early)}: of a later schema than this file's, {number}. Begin the file with "
                f"`schema: {SCHEMA}`, which has other defaults too: read them before anybody approves it."
            )
    try:
        return cast(T, _adapter(cast(Any, kind)).validate_python(value))
    except ValidationError as problem:
        raise error(_explain(name, problem)) from None


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


def _early(value: Any, kind: Any, number: int, where: str = "") -> list[str]:
    """The keys in a plain mapping that a file of this schema number does not have yet, with their places."""
    if isinstance(value, list):
        return [key for item in value for key in _early(item, kind, number, where)]
    if not isinstance(value, dict):
        return []
    found, hints = [], get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.name not in value:
            continue
        place, inner = f"{where}{field.name}", value[field.name]
        if field.metadata.get("since", 0) > number and inner != field.metadata["neutral"]:
            found.append(place)
            continue
        for at, part, kinds in _inner(inner, hints[field.name], place):
            for one in _fitting(part, kinds):
                found += _early(part, one, number, f"{at}.")
    return found


def _inner(value: Any, hint: Any, place: str) -> Iterator[tuple[str, Any, list[Any]]]:
    """The mappings in a value that are schema objects: their places, their contents, and what they may be."""
    kinds = list(_schemas(hint))
    if get_origin(hint) is dict and isinstance(value, dict):
        yield from ((f"{place}.{name}", part, kinds) for name, part in value.items())
    elif kinds:
        yield place, value, kinds


def _schemas(hint: Any) -> Iterator[Any]:
    """The schema classes that a type names, in whatever it wraps them."""
    if dataclasses.is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from _schemas(inner)


def _fitting(value: Any, kinds: list[Any]) -> list[Any]:
    """Of several schema classes those whose `kind` is the value's."""
    told = value.get("kind") if isinstance(value, dict) else None
    return [each for each in kinds if len(kinds) == 1 or told in get_args(get_type_hints(each).get("kind"))]


def _explain(name: str, problem: ValidationError) -> str:
    entries, lines = problem.errors(include_url=False, include_input=False, include_context=False), []
    missing, unknown = _at_top(entries, "missing"), _at_top(entries, "unexpected_keyword_argument")
    if missing[1:] and unknown[1:] and len(missing + unknown) >= ALIEN_KEYS:
        there = _shown(", ".join(unknown[:8]))
        return f"{name}: is another kind of file. It has no {', '.join(missing)}; it has {there}. Is it the right file?"
    for entry in entries:
        where = ".".join(str(part) for part in entry["loc"]) or "(top)"
        what = {
            "unexpected_keyword_argument": "unknown key; remove it or correct its spelling",
            "extra_forbidden": "unknown key; remove it or correct its spelling",
            "missing": "missing; add this key",
            "missing_argument": "missing; add this key",
            "dataclass_type": "keys with values must stand here; is it the right file?",
        }.get(entry["type"], entry["msg"].removeprefix("Value error, "))
        lines.append(f"  {_shown(where)}: {what}")
    plural = "mistake" if len(lines) == 1 else "mistakes"
    return f"{name}: {len(lines)} {plural}:\n" + "\n".join(lines)


def _at_top(entries: list[ErrorDetails], kind: str) -> list[str]:
    """The file's own keys of which this is said."""
    return [str(entry["loc"][0]) for entry in entries if entry["type"] == kind and len(entry["loc"]) == 1]


def _shown(text: str) -> str:
    """Keys come from whoever wrote the file: nothing in them may command the reader's terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


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
