"""Which packages a source file imports, wherever in the file the import stands, read without running it."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


def imported(path: Path, root: Path) -> set[str]:
    """Full dotted names of all that `path` imports; relative imports resolved against `root`."""
    tree = _parsed(path)
    package = path.relative_to(root).parent.parts
    return {name for node in ast.walk(tree) for name in _names(node, package)}


def _parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file.

    Python below 3.11.8 can fail here (CPython's issue 106905) when another parse comes in between, as from the garbage
    collector; so it does not run meanwhile.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    finally:
        if was:
            gc.enable()


def _names(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = list(package[: len(package) - node.level + 1]) if node.level else []
        module = ".".join([*start, *([node.module] if node.module else [])])
        yield from (f"{module}.{alias.name}".lstrip(".") for alias in node.names)
    elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__", "run_module"):
        yield from (word.value for word in node.args[:1] if _is_text(word))


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def within(name: str, package: str) -> bool:
    """Whether the dotted name is the package or lies in it."""
    return name == package or name.startswith(f"{package}.")


def sources(root: Path, *packages: str) -> list[Path]:
    """All Python files of these packages."""
    return sorted(path for package in packages for path in (root / package).rglob("*.py"))


FORBIDDEN = {  # package -> what it must not import
    "common": ("client", "server", "deploy", "tests"),
    "client": ("server", "deploy", "tests"),
    "server": ("client", "deploy", "tests"),
    "deploy": ("tests",),
}
MAY_IMPORT_FLOWER = (
    "common/messages.py", "common/record_bytes.py",  # the records of every message
    "client/agent/handlers.py", "client/app*.py", "client/network/fleet.py",  # a site; its end of the fleet API
    "server/flower/control.py", "server/flower/grid.py",  # control and runtime API
    "server/flower/superlink.py", "server/flower/patches.py",  # the SuperLink's process
    "server/flower/signature.py", "server/flower/ownership.py",
    "server/run/exchange.py", "server/run/invitation.py", "server/run/run.py",  # Grid
    "server/run/secure_sum.py", "server/run/step.py",
    "deploy/research/simulation/**/*.py", "deploy/cli*.py",
)  # fmt: skip
SEES_NO_PATIENT = ("client.network", "client.relay", "client.relay_pb2")  # all that a connector has of `client`
NO_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "misc"}


def trespasses(root: Path) -> list[str]:
    """Each import across a border that must stay closed, as "file imports name"."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for package, closed in FORBIDDEN.items()
        for path in sources(root, package)
        for name in sorted(imported(path, root))
        if any(within(name, other) for other in closed)
    ]


def looks_inside(root: Path) -> list[str]:
    """Each import with which the process on the network would have code that reads patients' data, or the reverse."""
    return [
        f"{path.relative_to(root)} imports {name}"
        for path in sources(root, "client")
        for name in sorted(imported(path, root))
        if within(name, "client")
        and (
            not any(within(name, other) for other in SEES_NO_PATIENT)
            if path.is_relative_to(root / "client" / "network")
            else within(name, "client.network")
        )
    ]


def arrows(root: Path, package: str) -> dict[str, set[str]]:
    """Return by room of a package, a folder or a file at its top, the other rooms that it imports from."""
    found: dict[str, set[str]] = {}
    for path in sources(root, package):
        here = _room(".".join(path.relative_to(root).with_suffix("").parts))
        there = {_room(name) for name in imported(path, root) if within(name, package)}
        found.setdefault(here, set()).update(there - {here, package})
    return found


def _room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def circle(root: Path, package: str) -> list[str]:
    """Return the rooms of a circle of imports, the first one also at its end; nothing where no arrow goes up."""
    try:
        TopologicalSorter(arrows(root, package)).prepare()
    except CycleError as problem:
        return list(problem.args[1])
    return []


def flower_outside(root: Path) -> list[str]:
    """Each import of Flower in a file that must do without."""
    allowed = {path for pattern in MAY_IMPORT_FLOWER for path in root.glob(pattern)}
    return [
        f"{path.relative_to(root)} imports {name}"
        for path in sources(root, *FORBIDDEN)
        if path not in allowed
        for name in sorted(imported(path, root))
        if within(name, "flwr") or within(name, "ray")
    ]


_BY_HAND = {"fsync", "rename", "renames", "link", "hardlink_to", "mkdtemp", "mkstemp", "NamedTemporaryFile"}


def aside_by_hand(root: Path) -> list[str]:
    """Each call, outside of common/disk, by which a file or a folder is written aside and put in its place."""
    return [
        f"{path.relative_to(root)}:{node.lineno} calls {_called(node.func)}"
        for path in sources(root, *FORBIDDEN)
        if not path.is_relative_to(root / "common" / "disk")
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.Call) and (_called(node.func) in _BY_HAND or _puts_in_place(node))
    ]


def _puts_in_place(call: ast.Call) -> bool:
    """`os.replace(one, other)`, or `path.replace(other)`; that of a text takes two words."""
    of = call.func.value if isinstance(call.func, ast.Attribute) and call.func.attr == "replace" else None
    return of is not None and (
        (isinstance(of, ast.Name) and of.id == "os") or (len(call.args), call.keywords) == (1, [])
    )


def vague_names(root: Path) -> list[str]:
    """Files and folders whose name says nothing."""
    paths = {parent for path in sources(root, *FORBIDDEN, "tests") for parent in (path, *path.parents)}
    return sorted(str(path.relative_to(root)) for path in paths if path.is_relative_to(root) and path.stem in NO_NAMES)
