"""Planted identifiers, looked for in everything that a run writes and in every message that crosses the wire."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deploy.research.simulation.grid import InProcessGrid
from tests.support.federation import private, run, small_hospitals


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """A run, what it wrote, what its hospitals planted, and the bytes of all messages in both directions."""
    folder = tmp_path_factory.mktemp("leaks")
    study, hospitals = small_hospitals(folder / "hospitals")
    before = {path for path in (folder / "hospitals").rglob("*") if path.is_file()}
    wire: list[bytes] = []
    push, pull = InProcessGrid.push_messages, InProcessGrid.pull_messages
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InProcessGrid, "push_messages", lambda grid, messages: push(grid, _keep(messages, wire)))
        patch.setattr(InProcessGrid, "pull_messages", lambda grid, ids: _keep(pull(grid, ids), wire))
        run(private(study), hospitals, folder / "run", compare=True)
    written = [path for path in folder.rglob("*") if path.is_file() and path not in before]
    return folder, written, wire


def _keep(messages, wire: list[bytes]):
    messages = list(messages)
    for message in messages:
        if message.has_error():
            wire.append(str(message.error).encode())
            continue
        for record in message.content.values():
            for key, value in record.items():
                data = getattr(value, "data", None)
                wire.append(f"{key}".encode() + (data if isinstance(data, bytes) else repr(value).encode()))
    return messages


DIGEST = re.compile(rb"[0-9a-f]{32,}")  # five figures in a row are in one of some hundreds, whoever the patients are


def planted(folder: Path) -> list[bytes]:
    """Every planted identifier of five letters or more, of all hospitals."""
    stored = json.loads((folder / "hospitals" / "identifiers.json").read_text())
    return sorted({text.encode() for texts in stored.values() for text in texts if len(text) >= 5})


def test_no_planted_identifier_in_any_file_of_the_run(finished):
    folder, written, _ = finished
    marks = planted(folder)
    assert len(marks) > 100 and len(written) > 10
    for path in written:
        content = DIGEST.sub(b"", path.read_bytes())
        found = sum(mark in content for mark in marks)
        assert found == 0, f"{path.relative_to(folder)} holds {found} planted identifiers"


def test_no_planted_identifier_on_the_wire(finished):
    folder, _, wire = finished
    content = DIGEST.sub(b"", b"\0".join(wire))
    assert len(content) > 100_000
    assert sum(mark in content for mark in planted(folder)) == 0


def test_the_hospitals_really_hold_them(finished):
    folder, _, _ = finished
    content = b"".join(path.read_bytes() for path in (folder / "hospitals").glob("*/*.csv"))
    marks = planted(folder)
    assert sum(mark in content for mark in marks) > len(marks) / 2, "otherwise the search above proves nothing"


def test_state_folders_are_closed_to_others(finished):
    folder, _, _ = finished
    for path in [*(folder / "hospitals").glob("*/state"), *(folder / "run" / "sites").glob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path.name
