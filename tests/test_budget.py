"""The budget of the tests: what a run of them costs is told, with its processes, and a run that costs more fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.budget import CPU, DEAR, WALL, Spent, allowed

ROOT = Path(__file__).resolve().parents[1]
BUSY = """
import subprocess, sys, time

def test_a_child_that_is_busy():
    code = "import time\\nwhile time.process_time() < 1: pass"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
"""


def played(folder: Path, *more: str, **budget: str) -> subprocess.CompletedProcess[str]:
    """A run of one test whose child is busy for a second."""
    (folder / "checks").mkdir(exist_ok=True)
    (folder / "checks" / "test_busy.py").write_text(BUSY)
    (folder / "checks" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    settings = (f"pythonpath = {ROOT}", "testpaths = checks", "addopts = --import-mode=importlib")
    (folder / "pytest.ini").write_text("\n".join(("[pytest]", *settings)))
    kept = {name: value for name, value in os.environ.items() if name not in (CPU, WALL)}
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *more]
    return subprocess.run(command, cwd=folder, env=kept | budget, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "a worker"])
def test_a_run_above_its_budget_fails_and_says_what_it_cost(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """The child's second counts, though all tests pass."""
    above = played(tmp_path, *workers, **{CPU: "0.9"})
    assert above.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in above.stdout and "THE BUDGET IS PASSED" in above.stdout
    assert re.search(r"CPU-s, .*; the yardstick took \d+\.\d{3} to \d+\.\d{3} CPU-s here", above.stdout)


def test_a_run_within_its_budget_passes(tmp_path: Path) -> None:
    within = played(tmp_path, **{CPU: "100", WALL: "100"})
    assert within.returncode == 0 and "THE BUDGET" not in within.stdout, within.stdout + within.stderr
    late = played(tmp_path, **{WALL: "0.5"})
    assert late.returncode == pytest.ExitCode.TESTS_FAILED and "by the clock" in late.stdout


@pytest.mark.parametrize(
    ("measured", "most"),
    [([0.1, 0.1], 60), ([0.104, 0.05], 60), ([0.2, 0.2], 180), ([0.05, 0.15, 0.12], 135), ([], 60)],
)
def test_a_slower_machine_may_take_more_and_another_not(monkeypatch, measured: list[float], most: float) -> None:
    """By the most that a worker measured, and half as much again: at some things it is slower by more."""
    monkeypatch.setattr("tests.support.budget._spent", Spent(yardsticks=measured))
    monkeypatch.setattr("tests.support.budget.REFERENCE", 0.1)
    assert allowed(60) == pytest.approx(most)


def test_who_has_a_reason_is_there() -> None:
    assert [file for file in DEAR if not (ROOT / file).exists()] == []
    make = (ROOT / "Makefile").read_text()
    assert f"{CPU}=$(TEST_CPU_SECONDS)" in make and f"{WALL}=$(SOAK_SECONDS)" in make
