"""A site of a scripted federation that has files: what one patient's rows, list or folder make of its answers."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client.agent.handlers import SiteHandler
from client.data.cohort import Cohort
from client.round.gate import Gate
from client.round.session import Site
from client.site import read_site
from common.messages import Refusal, Reply
from common.study import Study
from tests.support.hospital import STUDY, hospital, person, study_of, write_csv, write_site
from tests.support.scripted import ME, NAMES, PRIVATE, Hospitals

Rows = list[dict[str, Any]]
LABS: dict[str, Any] = STUDY["modalities"]["labs"]
PATIENTS = 16
ANSWERED = ["RoundReply", "RevealReply"] * 2


def private(changes: dict[str, Any] | None = None, *names: str) -> Study:
    return study_of(PRIVATE | (changes or {}), modalities=list(names or ("labs", "genes")))


class Ward(Hospitals):
    """Four sites, of which this one has files. `spoil`: what stands in one of its patients' rows."""

    def __init__(self, folder: Path, study: Study, spoil: Callable[[Path], None] = lambda _: None, **policy: Any):
        self.root = folder / "files"
        hospital(self.root, PATIENTS)
        spoil(self.root)
        write_site(self.root, {"site": ME, "images": None, "notes": None, "policy": policy})
        super().__init__(folder / "states", study)

    def start(self, name: str) -> SiteHandler:
        if name != ME:
            return super().start(name)
        site = Site(read_site(self.root), self.study, self.folder / ME)
        return SiteHandler(site, gate=Gate(site, simulated=True), lifetime=self.lifetime)

    def join(self) -> Reply:
        return self.answer(ME, self.invitation(1))

    def round(self) -> list[str]:
        """The kinds of reply of this site when it is asked for statistics and scores, and to train; or the code of a
        refusal.
        """
        said = self.join()
        if isinstance(said, Refusal):
            return [said.code]
        first = self._sum(1, round=0, asks=("statistics",))
        return first + self._sum(2, round=1, asks=("update", "validation"))

    def _sum(self, number: int, **asked: Any) -> list[str]:
        sum = self.offered(number, **asked)
        replies = [self.answer(ME, self.round_request(sum))]
        self.masked(sum, [name for name in NAMES if name != ME])
        replies += [self.answer(ME, self.reveal_request(self.confirmed(sum)))]
        return [reply.code if isinstance(reply, Refusal) else type(reply).__name__ for reply in replies]


def change(root: Path, name: str, edit: Callable[[Rows], Rows]) -> None:
    with (root / name).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    write_csv(root / name, edit(rows))


def cell(name: str, column: str, value: str) -> Callable[[Path], None]:
    """One patient's cell, of the first row."""
    return lambda root: change(root, name, lambda rows: [rows[0] | {column: value}, *rows[1:]])


def only(keep: Callable[[dict[str, Any]], bool]) -> Callable[[Path], None]:
    return lambda root: change(root, "records.csv", lambda rows: [row for row in rows if keep(row)] or [empty(rows[0])])


def empty(row: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(row, "")


def bytes_in(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        content = (root / name).read_bytes()
        assert old in content
        (root / name).write_bytes(content.replace(old, new, 1))

    return spoil


ONE = person(0).patient


def alike(one: Cohort, other: Cohort, names: Sequence[str]) -> bool:
    pairs = [(getattr(one, part), getattr(other, part)) for part in ("train", "validation", "test")]
    return all(np.array_equal(ours.inputs[name], theirs.inputs[name]) for ours, theirs in pairs for name in names)


def listed(root: Path, *lines: str) -> None:
    (root / "list.csv").write_text("\n".join(["patient_id", *lines]) + "\n", encoding="utf-8")


class Listed(Ward):
    """This site has a list of opt-outs."""

    def __init__(self, folder: Path, study: Study, *lines: str, spoil: Callable[[Path], None] = lambda _: None):
        super().__init__(folder, study, spoil)
        listed(self.root, *lines)
        write_site(self.root, {"site": ME, "images": None, "notes": None, "exclusions": "list.csv"})
        self.sites[ME] = self.start(ME)


OTHER = person(1).patient
