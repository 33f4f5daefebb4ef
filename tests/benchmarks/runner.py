"""Find the groups, measure them one after another, print and keep what they measured."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.figure import Figure

GROUPS = Path(__file__).parent / "groups"
Print = Callable[[str], None]
Entries = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Group:
    """A file in the folder of groups. It has `GROUP`, its own name, and `measure() -> Iterator[Figure]`.

    It is imported only when it is measured, so that a broken group cannot stop the others.
    """

    name: str
    path: Path

    def figures(self) -> Iterator[Figure]:
        """Its figures as they are measured; ValueError where one is of another group, or comes twice."""
        seen = set()
        for figure in self._module().measure():
            if figure.group != self.name or figure.key in seen:
                raise ValueError(f"{figure.key}: is not of the group {self.name}, or came before")
            seen.add(figure.key)
            yield figure

    def _module(self) -> Any:
        """The file under its import name, so that processes which it starts can import it as well."""
        name = f"tests.benchmarks.groups.{self.name}"
        spec = importlib.util.spec_from_file_location(name, self.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        if self.name != module.GROUP:
            raise ValueError(f"{self.path.name}: GROUP is {module.GROUP!r}, and should be the file's name")
        return module


def discover(folder: Path = GROUPS) -> dict[str, Group]:
    """All groups by name, without importing any."""
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return {path.stem: Group(path.stem, path) for path in files}


def run(groups: list[Group], out: Path, show: Print) -> None:
    """Measure each group and keep its figures in `out` when it is done; other groups' figures stay there."""
    show(f"machine: {machine()}")
    show(row("figure", "value", "bar", "holds", "note"))
    for group in groups:
        began = time.monotonic()
        entries = _measure(group, show)
        keep(out, group.name, entries)
        show(f"  {group.name}: {len(entries)} figures in {time.monotonic() - began:.0f} s; {machine()}")


def _measure(group: Group, show: Print) -> Entries:
    entries: Entries = {}
    try:
        for figure in group.figures():
            entries[figure.key] = _shown(figure, show)
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        failed = Figure(f"{group.name}.failed", text, note=_place(error))
        entries[failed.key] = {**_shown(failed, show), "holds": False}
    return entries


def _shown(figure: Figure, show: Print) -> dict[str, Any]:
    holds = {True: "yes", False: "NO", None: "–"}[figure.holds]
    show(row(figure.key, _text(figure.value), figure.bar or "–", holds, figure.note))
    return figure.entry(machine())


def _text(value: float | str | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int | str) else f"{float(value):.4g}"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"raised at {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def row(key: str, value: str, bar: str, holds: str, note: str) -> str:
    """A line of the table; a cell that is too wide pushes the rest of its own line only."""
    return f"{key:<38} {value:>12}  {bar:<10} {holds:<5}  {note}".rstrip()


def machine() -> str:
    """Cores that this process may use, and the load average of the last 1, 5 and 15 minutes."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return f"{len(os.sched_getaffinity(0))} cores, load {load}"


def read(out: Path) -> Entries:
    """What earlier runs kept; ValueError where the file is not theirs."""
    if not out.exists():
        return {}
    try:
        found = json.loads(out.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ValueError(f"{out}: cannot be read as JSON; move it away") from None
    if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
        raise ValueError(f"{out}: is not a file of figures; move it away, or name another with --out")
    return found


def keep(out: Path, group: str, entries: Entries) -> None:
    """Replace what the file holds of this group. Read again just before: another run may have written meanwhile."""
    others = {key: entry for key, entry in read(out).items() if not key.startswith(f"{group}.")}
    partial = out.with_name(f".{out.name}.partial")
    partial.write_text(json.dumps(dict(sorted((others | entries).items())), indent=1, allow_nan=False) + "\n")
    partial.replace(out)
