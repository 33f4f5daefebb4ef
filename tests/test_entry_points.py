"""Whoever starts wardround in a folder that holds packages named as ours gets ours.

The attack: a downloaded archive with a `common/` folder, unpacked where the user then types `wardround`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.report.page import write
from tests.support.evidence import STUDY, evidence

WARDROUND = Path(sys.executable).with_name("wardround")
ENTRIES = {"console script": [str(WARDROUND)], "module": [sys.executable, "-P", "-m", "deploy.cli"]}
TRAPS = ("common", "client", "server", "deploy", "click", "yaml", "random")


@pytest.fixture
def trapped(tmp_path):
    """A folder in which every import of ours, or of what we stand on, has a double that says that it was loaded."""
    folder = tmp_path / "unpacked"
    for name in TRAPS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"print('TRAPPED {name}', flush=True)\nraise SystemExit(99)\n")
    (folder / "sitecustomize.py").write_text("print('TRAPPED sitecustomize', flush=True)\n")
    return folder


def start(command, folder):
    """Start a command as a user's shell would: none of the variables that the Makefile sets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env = {**kept, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60)


def test_the_trap_is_one(trapped):
    """Without protection the double is what gets imported; else the tests below would prove nothing."""
    done = start([sys.executable, "-m", "deploy.cli", "--help"], trapped)
    assert done.returncode == 99 and "TRAPPED" in done.stdout


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["simulate", "--help"], ["hospitals", "new", "--help"]]
)
def test_the_command_line_starts_with_its_own_packages(trapped, entry, arguments):
    done = start([*ENTRIES[entry], *arguments], trapped)
    assert done.returncode == 0, done.stderr
    assert "TRAPPED" not in done.stdout + done.stderr
    assert done.stdout.startswith(("Usage: ", "wardround, version", "python -m deploy.cli, version"))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_subcommand_imports_its_side_from_the_installation(trapped, entry):
    """The coordinator's side is imported inside the subcommand, long after the start."""
    write(evidence(), trapped / "run")
    (trapped / "run" / "report.html").unlink()
    done = start([*ENTRIES[entry], "report", "run"], trapped)
    assert done.returncode == 0, done.stderr
    assert "TRAPPED" not in done.stdout + done.stderr
    assert (trapped / "run" / "report.html").stat().st_size > 10_000


def test_an_error_ends_in_its_exit_code_and_not_in_a_traceback(trapped):
    (trapped / "study.yaml").write_text(STUDY.replace("rounds: 20", "rundes: 20"))
    done = start([str(WARDROUND), "study", "check", "study.yaml"], trapped)
    assert done.returncode == 10 and "rundes" in done.stderr
    assert "Traceback" not in done.stderr and "TRAPPED" not in done.stdout + done.stderr


NEWER = pytest.mark.skipif(sys.version_info >= (3, 12), reason="newer Pythons hand that server the path themselves")


@pytest.mark.parametrize("protected", [True, pytest.param(False, marks=NEWER)])
def test_processes_that_it_starts_are_protected_too(trapped, tmp_path, protected):
    """Python starts the server that forks its workers with `-c`, which puts the present folder first in the path.

    With the protection taken back the double is loaded there: the trap works in this place as well.
    """
    program = tmp_path / "elsewhere" / "program.py"
    program.parent.mkdir()
    program.write_text(
        "import deploy.cli, importlib, multiprocessing, os, sys\n"
        "if __name__ == '__main__':\n"
        f"    {'pass' if protected else 'os.environ.clear()'}\n"
        "    context = multiprocessing.get_context('forkserver')\n"
        "    context.set_forkserver_preload(['common.errors'])\n"
        "    worker = context.Process(target=importlib.import_module, args=('client.site',))\n"
        "    worker.start(); worker.join(); sys.exit(worker.exitcode)\n"
    )
    done = start([sys.executable, str(program)], trapped)
    assert ("TRAPPED" not in done.stdout + done.stderr) is protected
    assert done.returncode == 0 or not protected, done.stderr


@pytest.mark.parametrize("entry", ENTRIES)
def test_help_comes_before_any_side_is_loaded(trapped, entry):
    """A second of waiting for torch is a second too long for `--help`."""
    started = [sys.executable, str(WARDROUND)] if entry == "console script" else ENTRIES[entry]
    done = start([started[0], "-X", "importtime", *started[1:], "--help"], trapped)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 0 and "click" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in ("torch", "flwr", "client", "server", "pandas")}
