"""SECURITY.md keeps its word: every test that it names is there, and every file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployment import environment

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)))
FILES = sorted(set(re.findall(r"`((?:common|client|server|deploy|tests)/[\w/]+(?:\.py|/))`", PAGE)))


def test_the_page_names_tests_and_files():
    assert len(NAMED) > 40 and len(FILES) > 5


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_is_there(file, name):
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", FILES)
def test_a_named_file_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.soak  # every file that the page names is imported
def test_a_named_test_is_collected_and_is_not_skipped():
    """A function that pytest does not take for a test, or skips, proves nothing, though it stands there."""
    files = sorted({file for file, _ in NAMED})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "tests.support.unskipped", *files],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    collected = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    there = {(node.split("::")[0], node.split("::")[-1]) for node in collected}  # of a class's test without the class
    assert [f"{file}::{name}" for file, name in NAMED if (file, name) not in there] == []
