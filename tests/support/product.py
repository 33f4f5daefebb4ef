"""A copy of the product with a task more, and its own commands in one process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from filecmp import dircmp
from pathlib import Path

from tests.support.deployment import environment

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "client", "server", "deploy")
TASKS = Path("common") / "tasks"
BETWEEN = "=" * 20
WITHOUT_KEYS = "without keys"  # before a command that ends in an error where a site has joined nobody
# What `wardround` is for each of several commands, the imports once.
COMMANDS = f"""
import json, sys
from common.errors import RunError
from deploy.cli import commands
for words in json.load(sys.stdin):
    fails = words[0] == {WITHOUT_KEYS!r}
    try:
        commands(words[fails:], standalone_mode=False)
    except RunError:
        if not fails:
            raise
    print({BETWEEN!r}, flush=True)
"""


def copy_with(root: Path, *tasks: tuple[Path, str]) -> Path:
    """Copy the product; each of these files is a task's, with the class's name."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    table = root / TASKS / "__init__.py"
    text = table.read_text()
    for path, name in tasks:
        module = path.stem.removesuffix("_task")
        shutil.copyfile(path, root / TASKS / f"{module}.py")
        line = "from common.tasks.multiclass import Multiclass\n"
        text = text.replace(line, f"{line}from common.tasks.{module} import {name}\n")
        text = text.replace("    Multiclass,\n", f"    Multiclass,\n    {name},\n")
        text = text.replace("    | Multiclass", f"    | Multiclass\n    | {name}")
    table.write_text(text)
    return root


def differences(copy: Path) -> dict[str, tuple[list[str], int]]:
    """By package of the copy that differs: the files that it has in addition, and the lines more of its table."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package, *(ROOT / package).rglob("*/")):
            if path.name == "__pycache__":
                continue
            place = path.relative_to(ROOT)
            here = dircmp(path, copy / place, ignore=["__pycache__"])
            if here.right_only or here.diff_files or here.left_only:
                assert here.diff_files == ["__init__.py"] and not here.left_only, place
                before, after = ((root / place / "__init__.py").read_text() for root in (ROOT, copy))
                kept = {line.rstrip(",") for line in after.splitlines()}
                assert {line.rstrip(",") for line in before.splitlines()} <= kept
                found[str(place)] = sorted(here.right_only), after.count("\n") - before.count("\n")
    return found


def played(product: Path, *commands: list[str | Path]) -> list[str]:
    """What each of these commands of the copy says, one after the other; all have to end well."""
    text = json.dumps([[str(word) for word in words] for words in commands])
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMANDS],
        cwd=product, env=environment(PYTHONPATH=str(product)), input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-2500:]
    return done.stdout.split(f"{BETWEEN}\n")[:-1]
