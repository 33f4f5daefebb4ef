"""Where the audit log of a test lies, and one that is there already."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.disk.audit import Audit
from tests.support.audit import SIX


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


@pytest.fixture
def six(path: Path) -> list[bytes]:
    """The lines of a log of six events, on disk at `path`."""
    audit = Audit(path)
    for event in SIX:
        audit.append(event)
    return path.read_bytes().splitlines(keepends=True)
