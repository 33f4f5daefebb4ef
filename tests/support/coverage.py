"""`make coverage`: which branches of each package the tests reach, held to a floor.

`python -m tests.support.coverage SECONDS`. Inside `make test` the tracer of Python 3.11 doubles the time, and it was
seen to kill gRPC's sender thread: so it is a run of its own, without the tests that serve gRPC, and with a deadline,
after which it says that nothing was measured. Those tests reach more of `client/agent`, `client/network`,
`server/flower` and `server/consortium` than is counted here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS_FAILED = 1  # of pytest: some are too slow under the tracer, and `make test` judges them
FLOORS = {"common": 95, "client": 90, "server": 75, "deploy": 75}  # percent of lines and branches
TESTS = ("tests/common", "tests/client", "tests/server", "tests/privacy", "tests/deploy")
SERVES_GRPC = re.compile(r"RelayServer|tests\.support\.(agent|deployment)|superlink|guarded|Process\(")


def left_out() -> list[str]:
    """Return the test files that serve gRPC, or start what does."""
    files = (path for tests in TESTS for path in (ROOT / tests).rglob("test_*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in files if SERVES_GRPC.search(path.read_text()))


def measured(seconds: float) -> dict[str, float] | None:
    """Return the percentage of each package that the tests reach; None where they took longer."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"COVERAGE_FILE": str(Path(folder) / "data"), "WARDROUND_TESTS_CPU_SECONDS": ""}
        pytest = ["pytest", "-q", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-p", "no:cacheprovider"]
        ignored = [f"--ignore={path}" for path in left_out()]
        try:
            _coverage("run", "-m", *pytest, *TESTS, *ignored, env=environment, seconds=seconds)
        except subprocess.TimeoutExpired:
            return None
        _coverage("combine", "-q", env=environment)
        report = Path(folder) / "report.json"
        _coverage("json", "-q", "-o", str(report), env=environment)
        files = json.loads(report.read_text())["files"]
    return {package: _share(files, package) for package in FLOORS}


def _coverage(*words: str, env: dict[str, str], seconds: float | None = None) -> None:
    process = subprocess.Popen([sys.executable, "-m", "coverage", *words], cwd=ROOT, env=env, start_new_session=True)
    try:
        if process.wait(seconds) not in (0, TESTS_FAILED):
            raise subprocess.CalledProcessError(process.returncode, words)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # the workers too
        process.wait()
        raise


def _share(files: dict[str, dict[str, dict[str, int]]], package: str) -> float:
    found = [one["summary"] for name, one in files.items() if name.startswith(f"{package}/")]
    there = sum(one["num_statements"] + one["num_branches"] for one in found)
    return 100 * sum(one["covered_lines"] + one["covered_branches"] for one in found) / max(1, there)


def main() -> int:
    found = measured(float(sys.argv[1]))
    if found is None:
        print(f"Coverage: nothing was measured, the tests took longer than {sys.argv[1]} s.")
        return 0
    for package, share in found.items():
        print(f"{package:<8} {share:5.1f} % of lines and branches, at least {FLOORS[package]} %")
    return int(any(share < FLOORS[package] for package, share in found.items()))


if __name__ == "__main__":
    sys.exit(main())
