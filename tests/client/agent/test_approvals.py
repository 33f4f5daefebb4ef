"""Only what the site approved: for any other study the agent opens no file of the data."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client.consent.approvals import Approvals
from common.messages import ConfirmRequest, JoinReply
from tests.support.agent import AgentSite, answered, code_of, sent


class Opened:
    """Paths that this process opens while `watch` runs."""

    def __init__(self) -> None:
        self.watching, self.paths = False, set[str]()
        sys.addaudithook(self._hear)  # for good: a hook cannot be taken away, only be deaf

    def _hear(self, event: str, given: tuple[object, ...]) -> None:
        if self.watching and event in ("open", "os.listdir", "os.scandir"):
            self.paths.add(str(given[0]))

    @contextlib.contextmanager
    def watch(self) -> Iterator[set[str]]:
        self.paths.clear()
        self.watching = True
        try:
            yield self.paths
        finally:
            self.watching = False


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened()


def data_files(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if path.suffix in (".csv", ".dcm") or path.name == "images"}


def test_for_a_study_that_is_not_approved_no_data_file_is_opened(site: AgentSite, opened: Opened) -> None:
    other = replace(site.study, rounds=site.study.rounds + 1)
    shutil.rmtree(site.state / "cache", ignore_errors=True)  # what was prepared before is not read again
    with site.served() as socket:
        with opened.watch() as paths:
            assert code_of(socket, sent(site.join(other.digest))) == "not_approved"
        assert not paths & data_files(site.folder)
        with opened.watch() as paths:
            assert isinstance(answered(socket, sent(site.join())), JoinReply)
        assert paths & data_files(site.folder), "otherwise the search above proves nothing"


def test_a_study_that_names_a_path_is_refused_and_the_path_is_not_opened(site: AgentSite, opened: Opened) -> None:
    with site.served() as socket, opened.watch() as paths:
        assert code_of(socket, sent(site.join("../../etc/passwd"))) == "not_approved"
    assert not paths & data_files(site.folder) and not [path for path in paths if "passwd" in path]


def test_a_study_that_was_withdrawn_is_refused_by_the_running_agent(site: AgentSite, opened: Opened) -> None:
    other = replace(site.study, rounds=site.study.rounds + 2)
    approvals = Approvals(site.state)
    approvals.approve(other)
    with site.served() as socket:
        request = sent(site.join(other.digest))
        assert isinstance(answered(socket, request), JoinReply)
        approvals.pause(other.digest)
        assert code_of(socket, request) == "paused"
        approvals.resume(other.digest)
        approvals.withdraw(other.digest)
        with opened.watch() as paths:
            assert code_of(socket, request) == "not_approved"
            assert code_of(socket, sent(ConfirmRequest(1, ()))) == "not_approved"
        assert not paths & data_files(site.folder)
