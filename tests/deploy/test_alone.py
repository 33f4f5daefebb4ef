"""One process for one duty, and what the second one is told."""

import subprocess
import sys

import pytest

from common.errors import RunError
from deploy.daemons.alone import alone
from deploy.daemons.processes import AGENT_LOCK, CONNECTOR_LOCK, connector, up
from tests.support.deployment import ROOT, environment
from tests.support.federation import small_hospitals

HOLD = """
import sys, time
from pathlib import Path
from deploy.daemons.alone import alone
with alone(Path(sys.argv[1]), "agent of ward"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """A lock, and the process that holds it."""
    lock = tmp_path / AGENT_LOCK
    command = [sys.executable, "-P", "-c", HOLD, str(lock)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield lock, process
        process.kill()


def test_the_second_one_is_told_which_process_is_the_first(held):
    lock, process = held
    with (
        pytest.raises(RunError, match=f"agent of ward runs already, as process {process.pid}"),
        alone(lock, "agent of ward", 0.3),
    ):
        pytest.fail("two at once")


def test_the_lock_goes_with_a_process_that_was_killed(held):
    lock, process = held
    process.kill()
    with alone(lock, "agent of ward", 5.0):
        assert lock.read_text() != str(process.pid)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunError, match="enrolled"), alone(tmp_path / "none" / CONNECTOR_LOCK, "connector of ward"):
        pytest.fail("held nothing")


def test_a_connector_of_a_site_that_has_not_joined_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match=r"joined no consortium.*wardround site enrol.*wardround site join KIT"):
        connector(tmp_path / "connector", tmp_path / "agent.sock")


def test_a_site_that_has_not_joined_is_not_started_again_and_again(tmp_path):
    folder = small_hospitals(tmp_path)[1][0]
    with pytest.raises(RunError, match="joined no consortium"):
        up(folder)
