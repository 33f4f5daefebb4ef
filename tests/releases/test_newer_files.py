"""A file of a newer release is refused as newer, wherever it lies, and never called damaged; nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from client.consent.approvals import Approvals
from client.membership.enrolment import SitePlace
from client.network.inbox import Inbox
from common.disk.audit import Audit, Started
from common.errors import AuditError, WardroundError
from common.identity.enrolment import Coordinator, Kit, Request
from common.identity.roster import Roster
from server.consortium.consortium import Consortium
from server.report.evidence import read_evidence
from server.run.checkpoint import read
from server.run.watch import read_status
from tests.support.release import Release, release

Change = Callable[[Path, int], None]


def in_yaml(key: str = "format") -> Change:
    def change(path: Path, number: int) -> None:
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {key: number}, sort_keys=False))

    return change


def in_json(path: Path, number: int) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))


def in_checkpoint(path: Path, number: int) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    head = json.loads(arrays["head"].tobytes()) | {"format": number}
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def in_letter(path: Path, number: int) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:4], "big")
    head = json.dumps(json.loads(data[4 : 4 + size]) | {"format": number}).encode()
    path.write_bytes(len(head).to_bytes(4, "big") + head + data[4 + size :])


@dataclass(frozen=True)
class Stored:
    """A file, how a number gets into it, the newest number that is read today, and who reads it."""

    path: str
    change: Change
    newest: int
    read: Callable[[Release, Path], Any]


LETTER = "hospitals/north/connector/inbox/" + "ab" * 32 + ".letter"
FILES = {
    "approvals": Stored(
        "hospitals/north/state/approvals.yaml", in_yaml(), 1, lambda old, path: Approvals(old.state).all()
    ),
    "pinned roster": Stored(
        "hospitals/north/state/identity/roster.yaml", in_yaml(), 1, lambda old, path: SitePlace.at(old.north).roster()
    ),
    "request": Stored(
        "hospitals/north/state/identity/request.yaml", in_yaml("protocol"), 2, lambda old, path: Request.read(path)
    ),
    "kit": Stored("consortium/kits/north.yaml", in_yaml("protocol"), 2, lambda old, path: Kit.read(path)),
    "coordinator": Stored(
        "hospitals/north/connector/coordinator.yaml", in_yaml(), 1, lambda old, path: Coordinator.read(path)
    ),
    "letter": Stored(LETTER, in_letter, 1, lambda old, path: list(Inbox(path.parent).waiting())),
    "consortium": Stored(
        "consortium/consortium.yaml", in_yaml(), 1, lambda old, path: Consortium.read(old.consortium)
    ),
    "roster": Stored("consortium/roster.yaml", in_yaml(), 1, lambda old, path: Roster.read(path)),
    "checkpoint": Stored(
        "consortium/runs/stopped/checkpoint.npz", in_checkpoint, 3,
        lambda old, path: read(path, old.golden["digests"]["private"]),
    ),
    "status": Stored("consortium/runs/stopped/status.json", in_json, 1, lambda old, path: read_status(path)),
    "report": Stored("consortium/runs/open/report.json", in_json, 2, lambda old, path: read_evidence(path)),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_newer_file_is_refused_as_newer(tmp_path: Path, name: str) -> None:
    old, stored = release("0.1", tmp_path), FILES[name]
    path = old.root / stored.path
    assert stored.read(old, path)  # as 0.1 wrote it
    if stored.path.endswith(".yaml") and "protocol" in path.read_text():
        pass  # a signed document: its number can't be changed without being another document
    else:
        stored.change(path, stored.newest)
        assert stored.read(old, path)
    stored.change(path, stored.newest + 1)
    content = path.read_bytes()
    with pytest.raises(WardroundError, match="newer release of wardround") as caught:
        stored.read(old, path)
    assert "damaged" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_newer_line_of_the_audit_log_is_named_as_newer(tmp_path: Path) -> None:
    path = release("0.1", tmp_path).state / "audit.jsonl"
    audit = Audit(path)
    audit.append(Started("0.2.0"))
    lines = path.read_text().splitlines()
    assert '"format":1' in lines[-1] and "format" not in lines[0]
    assert audit.verify().broken is None
    newer = json.loads(lines[-1]) | {"format": 3, "a_new_field": "x"}
    path.write_text("\n".join([*lines[:-1], json.dumps(newer, separators=(",", ":"))]) + "\n")
    content = path.read_bytes()
    broken = Audit(path).verify().broken
    assert broken is not None and broken.kind == "newer" and broken.line == len(lines)
    with pytest.raises(AuditError, match="newer release of wardround"):
        Audit(path).append(Started("0.2.0"))
    with pytest.raises(AuditError, match="newer release of wardround"):
        list(Audit(path).events())
    assert path.read_bytes() == content


@pytest.mark.parametrize("number", [-1, True, "1", 1.0, None])
def test_a_number_that_is_none_is_not_called_newer(tmp_path: Path, number: object) -> None:
    path = release("0.1", tmp_path).consortium / "runs" / "stopped" / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": number}))
    with pytest.raises(WardroundError, match="its format number is none"):
        read_status(path)
