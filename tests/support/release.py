"""What a release left on disks (`tests/fixtures/release-X`), copied, with the modes that git does not keep; and the
release's own source (`release-X.tar.xz`), to be run beside this one.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.study import Study, read_study

FIXTURES = Path(__file__).parents[1] / "fixtures"
SECRET = ("*.key", "approvals.yaml", "ledger.jsonl", "secure_sum.json", "audit.jsonl", "*.reply", "studies/*.yaml")


@dataclass(frozen=True)
class Release:
    """One release's files, in a folder of the test's own."""

    root: Path

    @property
    def north(self) -> Path:
        """A site's folder: site.yaml, its table, state/ and connector/."""
        return self.root / "hospitals" / "north"

    @property
    def state(self) -> Path:
        return self.north / "state"

    @property
    def consortium(self) -> Path:
        """The coordinator's folder, with the runs `open` (complete, no privacy) and `stopped` (private, killed)."""
        return self.root / "consortium"

    @property
    def runs(self) -> Path:
        return self.consortium / "runs"

    @cached_property
    def golden(self) -> dict[str, Any]:
        """What the release's own code found in these files."""
        return dict(json.loads((self.root / "golden.json").read_text()))

    def study(self, name: str) -> Study:
        """As a person wrote it: `private`, `none`, `unsaid` (leaves `privacy` out) or `wide` (most keys in use)."""
        return read_study(self.root / "studies" / f"{name}.yaml")

    def message(self, name: str) -> bytes:
        """As the release's code sent it: `join_request`, `join_reply`, …"""
        return (self.root / "messages" / f"{name}.bin").read_bytes()


def release(name: str, folder: Path) -> Release:
    """The files of a release as they lay there: secret ones for their owner alone, all of them written just now."""
    root = folder / f"release-{name}"
    shutil.copytree(FIXTURES / root.name, root)
    for place in (root / "hospitals" / "north" / "state", root / "hospitals" / "north" / "connector"):
        for path in (place, *place.rglob("*")):
            secret = any(path.match(pattern) for pattern in SECRET)
            path.chmod(0o700 if path.is_dir() else 0o600 if secret else 0o644)
    for path in root.rglob("*"):
        os.utime(path, (time.time(), time.time()))
    for path in (root / "consortium").rglob("*.key"):
        path.chmod(0o600)
    return Release(root)


def program(name: str, folder: Path) -> Path:
    """The source of a release, unpacked into `folder`. With it as PYTHONPATH `deploy.cli` is that release's command."""
    root = folder / f"program-{name}"
    with tarfile.open(FIXTURES / f"release-{name}.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return root


def changed(source: Path, folder: Path, path: str, before: str, after: str) -> Path:
    """A copy of the product in which one text of one file is another: a release that there is not yet."""
    root = folder / "changed"
    for package in ("common", "client", "server", "deploy"):
        shutil.copytree(source / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (root / path).read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{path} has this text {text.count(before)} times"
    (root / path).write_text(text.replace(before, after), encoding="utf-8")
    return root
