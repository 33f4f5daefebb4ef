"""The records of a site's secure sums as a file: 0.1's taken over, a newer one refused, and cheap after a million."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from client.exact_sums.asked import Asked
from client.exact_sums.sum_records import SumRecords
from common.errors import AnsweredError, ProtocolOrderError, RunError

FOUR, THREE = ("east", "north", "south", "west"), ("east", "north", "south")
KEYS = {name: f"key of {name}" for name in FOUR}
MANY = 100_000  # runs; the bound holds for any number, for a claim looks nothing through


def asked(question: str, *, waits: bool = False) -> Asked:
    return Asked((question,), {"shared": KEYS}, 1, waits)


def key(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()


def of_0_1(state: Path, run: str) -> None:
    """As release 0.1 wrote it after some sums of a run."""
    four = hashlib.sha256(json.dumps(sorted(FOUR)).encode()).hexdigest()
    kept = {"numbers": {key(run): 7}, "uploads": {key(run): 6}, "answered": {"aa": four}}
    (state / "secure_sum.json").write_text(json.dumps(kept))


def test_what_release_0_1_kept_is_still_refused(tmp_path) -> None:
    of_0_1(tmp_path, "old")
    for _ in range(2):  # as taken over, and as read again
        records = SumRecords(tmp_path)
        with pytest.raises(ProtocolOrderError):
            records.offering("old", 7)
        with pytest.raises(ProtocolOrderError):
            records.uploading("old", 6)
        with pytest.raises(AnsweredError):
            records.require_allowed(asked("aa"), THREE)
    records.require_allowed(asked("aa"), FOUR)
    records.uploading("old", 7)
    records.offering("old", 8)
    records.offering("new", 1)
    records.require_allowed(asked("bb"), THREE)


def test_a_file_of_a_newer_release_is_refused_as_newer_and_a_damaged_one_as_damaged(tmp_path) -> None:
    records = SumRecords(tmp_path)
    records.offering("run", 1)
    with sqlite3.connect(tmp_path / "secure_sum.db") as file:
        file.execute("PRAGMA user_version = 2")
    with pytest.raises(RunError, match="newer release"):
        records.offering("run", 2)
    (tmp_path / "secure_sum.db").write_bytes(b"\xff" * 4096)
    with pytest.raises(RunError, match="damaged"):
        records.offering("run", 2)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"format": 1, "numbers": {}}', '{"numbers": []}', '{"uploads": {"run": "x"}}']
)
def test_a_file_of_0_1_that_cannot_be_read_stops_the_site(tmp_path, text) -> None:
    (tmp_path / "secure_sum.json").write_text(text)
    for _ in range(2):
        with pytest.raises(RunError):
            SumRecords(tmp_path).offering("run", 1)


def test_a_claim_that_is_refused_leaves_everything_as_it_was(tmp_path) -> None:
    records = SumRecords(tmp_path)
    records.confirming(asked("aa"), FOUR)
    records.answering(asked("aa"), FOUR)
    before = (tmp_path / "secure_sum.db").read_bytes()
    with pytest.raises(AnsweredError):
        records.answering(Asked(("bb", "aa"), {"shared": KEYS}, 1, False), THREE)
    with pytest.raises(AnsweredError):
        records.confirming(asked("cc", waits=True), THREE)
    assert (tmp_path / "secure_sum.db").read_bytes() == before
    records.answering(Asked(("bb", "aa"), {"shared": KEYS}, 1, False), FOUR)


def _claim(state: Path, results) -> None:
    try:
        SumRecords(state).uploading("run", 1)
        results.put(True)
    except ProtocolOrderError:
        results.put(False)


def test_of_several_processes_one_uploads(tmp_path) -> None:
    fork = get_context("fork")
    results = fork.Queue()
    several = [fork.Process(target=_claim, args=(tmp_path, results)) for _ in range(6)]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
    assert sorted(results.get(timeout=10) for _ in several) == [False] * 5 + [True]


def filled(state: Path, runs: int) -> SumRecords:
    """As after so many runs of three sums each, with all that each answered."""
    records = SumRecords(state)
    records.confirming(asked("first"), FOUR)
    records.answering(asked("first"), FOUR)
    with sqlite3.connect(state / "secure_sum.db") as file:
        file.executemany("INSERT INTO runs VALUES (?, 3, 3)", ((key(str(run)),) for run in range(runs)))
        names = hashlib.sha256(json.dumps(sorted(KEYS.values())).encode()).hexdigest()
        file.executemany("INSERT INTO answered VALUES (?, ?)", ((key(f"q{run}"), names) for run in range(runs)))
    return records


def test_a_claim_after_many_runs_takes_less_than_ten_milliseconds(tmp_path) -> None:
    records = filled(tmp_path, MANY)
    began = time.process_time()
    for number in range(20):
        records.offering("another", number + 1)
        records.uploading("another", number + 1)
        records.require_allowed(asked(key(f"q{number}"), waits=True), FOUR)
        records.confirming(asked(f"new {number}", waits=True), FOUR)
    assert (time.process_time() - began) / 80 < 0.01
    with pytest.raises(ProtocolOrderError):
        records.offering("17", 3)
    with pytest.raises(AnsweredError):
        records.confirming(asked(key("q99")), THREE)


def test_a_person_allows_one_set_of_sites(tmp_path) -> None:
    records = SumRecords(tmp_path)
    records.confirming(asked("aa", waits=True), THREE)
    with pytest.raises(AnsweredError, match="allow-set"):
        records.confirming(asked("bb", waits=True), FOUR)
    records.allow(KEYS, records.showing(KEYS))
    records.confirming(asked("bb", waits=True), FOUR)
    with pytest.raises(AnsweredError):
        records.confirming(asked("cc", waits=True), FOUR[1:])
    with pytest.raises(AnsweredError):  # nor is the same question answered over other sites
        records.confirming(asked("aa", waits=True), FOUR)
