"""What an adapter relies on in Flower, name by name, so that a release that changes it is told in words."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.architecture import imported

_ANY = object()


@dataclass(frozen=True)
class Relied:
    """One name. `takes`: parameters that we give, the first ones in this order; `also`: others, by name.

    fields: of a protobuf message; has: attributes; is_: the value itself.
    """

    why: str
    takes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    has: tuple[str, ...] = ()
    is_: Any = _ANY


def changed(contract: Mapping[str, Relied]) -> list[str]:
    """A sentence for each name that is not as it is relied on; none when all is as it was."""
    return [
        f"{name}: {what}. It is for: {relied.why}" for name, relied in contract.items() if (what := _of(name, relied))
    ]


def _of(name: str, relied: Relied) -> str:
    try:
        found = _look_up(name)
    except (ImportError, AttributeError):
        return "is gone, or moved"
    if relied.is_ is not _ANY and found != relied.is_:
        return f"is {found!r} now, and was {relied.is_!r}"
    missing = [field for field in relied.fields if field not in found.DESCRIPTOR.fields_by_name]
    missing += [attribute for attribute in relied.has if not hasattr(found, attribute)]
    if missing:
        return f"has no {', '.join(missing)} any more"
    return _of_call(found, relied) if relied.takes or relied.also else ""


def _of_call(found: Any, relied: Relied) -> str:
    parameters = inspect.signature(found).parameters
    names = [name for name in parameters if name != "self"]
    if tuple(names[: len(relied.takes)]) != relied.takes:
        return f"takes ({', '.join(names)}) now, and took ({', '.join(relied.takes)}) first"
    missing = [name for name in relied.also if name not in names]
    if missing:
        return f"does not take {', '.join(missing)} any more"
    given = {*relied.takes, *relied.also}
    asked = [
        name for name, parameter in parameters.items()
        if name not in given | {"self"} and parameter.default is inspect.Parameter.empty
        and parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    ]  # fmt: skip
    return f"asks for {', '.join(asked)} too" if asked else ""


def _look_up(name: str) -> Any:
    """A module, or an attribute of an attribute of one."""
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:size]))
        except ImportError:
            continue
        for part in parts[size:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def unwritten(contract: Mapping[str, Relied], root: Path, *files: str) -> set[str]:
    """Names of Flower that the files import and the contract does not have."""
    used = {name for file in files for name in imported(root / file, root) if name.startswith("flwr")}
    return used - contract.keys()
