"""COMPATIBILITY.md is the table of common/protocols.py in words."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from common.protocols import HERE, RELEASES, Release

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "COMPATIBILITY.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    section = PAGE.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def beside(coordinator: Release, site: Release) -> str:
    """Whether they speak a number in common; where not all that the coordinator does, up to which."""
    common = {*coordinator.wire} & {*site.wire}
    if not common:
        return "no"
    return "yes" if coordinator.wire[-1] in common else f"yes, in studies that need no more than {max(common)}"


def test_what_each_release_speaks() -> None:
    expected = [
        [
            release.name,
            ", ".join(map(str, release.wire)),
            *(str(getattr(release, key)) for key in ("enrolment", "relay", "secure_sum", "study")),
            *(str(getattr(release, key)) for key in ("ledger", "audit", "checkpoint", "status", "report")),
        ]
        for release in RELEASES
    ]
    assert rows("What each release speaks") == expected


def test_who_can_be_beside_whom() -> None:
    assert rows("Who can be beside whom") == [
        [coordinator.name, *(beside(coordinator, site) for site in RELEASES)] for coordinator in RELEASES
    ]


def test_this_release_is_the_last_of_the_table_and_the_one_that_is_installed_and_told_of() -> None:
    version = re.search(r'^version = "([0-9.]+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and version[1].rpartition(".")[0] == HERE.name
    newest = re.search(r"^## ([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == HERE.name


def test_numbers_only_rise_and_leave_none_out() -> None:
    files = ("enrolment", "relay", "secure_sum", "study", "ledger", "audit", "checkpoint", "status", "report")
    for before, after in pairwise(RELEASES):
        assert after.wire[-1] >= before.wire[-1] and after.wire == tuple(range(after.wire[0], after.wire[-1] + 1))
        assert all(getattr(after, key) >= getattr(before, key) for key in files)


def test_the_page_names_tests_that_are_there_and_the_readme_names_the_page() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", PAGE)
    assert named and all((ROOT / path).exists() for path in named)
    assert "](COMPATIBILITY.md)" in (ROOT / "README.md").read_text()
