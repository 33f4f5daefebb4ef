"""SECURITY.md keeps its word: every test that it names is there, and every file."""

import re
from pathlib import Path

import pytest

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
