"""The mistakes that people make, at the command line: each is told in a sentence that names the way out."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy import cli
from deploy.research.synthetic.generate import generate
from tests.support.deployment import ROOT, Process, environment, free_port, wait_for
from tests.support.warm import ran

WIDE = {"COLUMNS": "200"}
# A shell's background job, as which the tests may be started, ignores Ctrl-C, and so would all that it starts.
HEEDS_CONTROL_C = ["env", "--default-signal=INT", sys.executable, "-P", "-m", "deploy.cli"]


def wardround(*words: str | Path, cwd: Path, stdin: str = "", code: int) -> str:
    """What a command said, on both streams; its exit code must be `code`, and no traceback may show."""
    done = ran(*map(str, words), cwd=cwd, env=environment(**WIDE), stdin=stdin)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    return said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `hospitals` in it, one of them enrolled, and a consortium without sites."""
    folder = tmp_path_factory.mktemp("mistakes")
    generate(folder / "hospitals", sites=3, seed=0, scale=0.1)
    wardround("consortium", "new", "trial", "--host", "127.0.0.1", cwd=folder, code=0)
    wardround("site", "enrol", "--at", "hospitals/lindenhof", "--out", "request.yaml", cwd=folder, code=0)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(made, tmp_path / "here"))


# ----------------------------------------------------------------------------------------------- at the coordinator


def test_a_run_of_which_nobody_heard(made):
    for command in ("status", "stop", "resume"):
        said = wardround(command, "frist", cwd=made, code=50)
        assert "has no run 'frist'" in said and "none yet" in said
    assert "wardround run" in wardround("status", cwd=made, code=50)


@pytest.mark.parametrize("option", ["--deadline", "--wait", "--time-box"])
def test_a_time_below_zero(made, option):
    assert option in wardround("run", "hospitals/study.yaml", option, "-5", cwd=made, code=2)


def test_a_run_without_enough_sites_leaves_nothing(made):
    said = wardround("run", "hospitals/study.yaml", cwd=made, code=50)
    assert "needs 3 sites, and there are 0" in said and "consortium admit" in said
    assert not list((made / "consortium" / "runs").iterdir())


def test_a_site_that_is_none(made):
    said = wardround("run", "hospitals/study.yaml", "--site", "lindenhoff", cwd=made, code=50)
    assert "called lindenhoff" in said and "none yet" in said


def test_kits_before_anybody_is_admitted(made):
    assert "consortium admit" in wardround("consortium", "kits", "--out", "kits", cwd=made, code=50)
    assert not (made / "kits").exists()


def test_an_address_of_another_machine(made):
    said = wardround("coordinator", "up", "--bind", "192.0.2.1", cwd=made, code=50)
    assert "192.0.2.1" in said and "an address of this machine" in said and "running" not in said


def test_a_request_whose_fingerprint_was_not_the_same(made):
    said = wardround("consortium", "admit", "request.yaml", cwd=made, stdin="n\n", code=1)
    assert "Nothing was changed" in said
    assert "Sites        0" in wardround("consortium", "show", cwd=made, code=0)


def test_a_coordinator_starts_again_after_it_was_killed(here):
    """What it started must not keep the port, nor serve sites that nobody removes any more."""
    port = free_port()
    settings = here / "consortium" / "consortium.yaml"
    settings.write_text(settings.read_text().replace("9443", str(port)))
    for _ in range(2):
        log = here / "log"
        words = ("coordinator", "up", "--at", str(here / "consortium"), "--bind", "127.0.0.1")
        server = Process(log, *words)
        try:
            wait_for(lambda: "sites are enrolled" in server.text or not server.runs, "coordinator")  # noqa: B023
            assert "sites are enrolled" in server.text
        finally:
            server.kill()
        log.unlink()
    wait_for(lambda: is_free(port), "the port let go", 15.0)


def is_free(port: int) -> bool:
    """Nobody listens."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) != 0


def test_a_folder_that_is_no_run(made):
    said = wardround("report", "consortium", cwd=made, code=50)
    assert "Give the folder of a run" in said


# --------------------------------------------------------------------------------------------------- at a hospital


@pytest.mark.parametrize(
    "words", ["approve hospitals/study.yaml", "studies", "receipts --today", "audit", "check", "up"]
)
def test_the_folder_was_forgotten(made, words):
    said = wardround("site", *words.split(), cwd=made, code=11)
    assert "has no site.yaml" in said and "--at" in said


def test_a_site_that_has_not_joined(made):
    said = wardround("site", "up", "--at", "hospitals/lindenhof", cwd=made, code=50)
    assert "joined no consortium" in said and "site join KIT" in said and "Usage" not in said
    said = wardround("site", "check", "--at", "hospitals/lindenhof", cwd=made, code=50)
    assert "roster.yaml: is not there" in said and "site join KIT" in said
    said = wardround("site", "check", "--at", "hospitals/northfield", cwd=made, code=50)
    assert "Run `wardround site enrol`" in said


def test_no_answer_is_no_approval(here):
    words = ("site", "approve", "hospitals/study.yaml", "--at", "hospitals/lindenhof")
    for answer, code in (("", 130), ("n\n", 1)):
        said = wardround(*words, cwd=here, stdin=answer, code=code)
        assert "nothing was changed" in said.lower() and "resume" not in said
    assert "No study" in wardround("site", "studies", "--at", "hospitals/lindenhof", cwd=here, code=0)


def test_a_digest_that_is_none(here):
    assert "too short" in wardround("site", "pause", "a", "--at", "hospitals/lindenhof", cwd=here, code=54)
    said = wardround("site", "pause", "DIGEST", "--at", "hospitals/lindenhof", cwd=here, code=54)
    assert "'DIGEST' begins no digests of a study here" in said and "wardround site studies" in said


def test_a_head_that_is_none_does_not_make_a_broken_log(made):
    said = wardround("site", "audit", "--head", "HASH", "--at", "hospitals/lindenhof", cwd=made, code=2)
    assert "64 digits" in said and "cut off" not in said


def test_a_column_that_is_not_there_is_named_and_no_value_is(here):
    table = here / "hospitals" / "lindenhof" / "records.csv"
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header.replace("Alter", "Alder"), *rows]))
    said = wardround("study", "check", "hospitals/study.yaml", "--hospitals", "hospitals", cwd=here, code=20)
    assert "Alter" in said and "records.csv" in said
    shown = set(re.findall(r"[\w.@+-]+", said))
    assert not shown & {cell for row in rows for cell in row.split(",") if len(cell) > 6}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("words", ["studies", "receipts --today", "audit", "pause 0000", "approve study.yaml --yes"])
def test_another_user_is_not_told_that_nothing_is_there(here, words):
    """What cannot be looked at is not absent: a log of which nothing can be read has not sent "0 bytes"."""
    site = here / "hospitals" / "lindenhof"
    shutil.copy(here / "hospitals" / "study.yaml", site)
    for folder in (site, *site.parents):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o001)  # pytest's own are closed to others
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command += [sys.executable, "-P", "-m", "deploy.cli", "site", *words.split()]
    done = subprocess.run(command, cwd=site, env=environment(**WIDE), capture_output=True, text=True, check=False)
    assert done.returncode == 11, done.stdout + done.stderr
    assert "the user root" in done.stderr and "sudo -u" in done.stderr and not done.stdout


def test_a_site_of_which_nothing_is_recorded(made):
    said = wardround("site", "receipts", "--today", "--at", "hospitals/northfield", cwd=made, code=0)
    assert "Nothing is recorded here yet" in said


# ------------------------------------------------------------------------------------------------ whatever the command


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("consortium admit hospitals/study.yaml", 44),
        ("site join hospitals/study.yaml --at hospitals/lindenhof", 44),
        ("site approve hospitals/lindenhof/site.yaml --at hospitals/lindenhof", 10),
        ("study check request.yaml", 10),
        ("study check hospitals/lindenhof/records.csv", 10),
    ],
)
def test_the_wrong_file_is_not_to_be_mended(made, words, code):
    said = wardround(*words.split(), cwd=made, code=code)
    assert "right file?" in said and "add this key" not in said and "instance of" not in said


def test_control_c_ends_a_long_command_in_a_sentence(made):
    command = [*HEEDS_CONTROL_C, "study", "check", "hospitals/study.yaml", "--hospitals", "hospitals"]
    with subprocess.Popen(command, cwd=made, env=environment(), stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None and "in order" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "said_before", ["starting the sites", pytest.param("statistics summed", marks=pytest.mark.soak)]
)
def test_control_c_ends_a_simulation_with_its_workers_and_says_how_to_go_on(here, said_before):
    """A terminal sends it to every process at once; none of them may show where in the program it was. A hand often
    presses it twice.
    """
    words = ("simulate", "hospitals/study.yaml", "--hospitals", "hospitals", "--run", "x")
    log = here / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*HEEDS_CONTROL_C, *words],
            cwd=here,
            env=environment(PYTHONUNBUFFERED="1"),
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        wait_for(lambda: said_before in log.read_text(), said_before)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.005)
        # A shell says 130 of both: the second may come when all is said, and the interpreter ends.
        assert process.wait(30) in (130, -signal.SIGINT)
    said = log.read_text()
    assert "wardround simulate hospitals/study.yaml --hospitals hospitals --run x" in said
    is_saved = (here / "runs" / "x" / "checkpoint.npz").exists()
    assert ("--run x --resume" in said) == is_saved == (said_before == "statistics summed")
    assert "Traceback" not in said and "Process" not in said, said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_too_small_for_hospitals_is_told_in_a_sentence(tmp_path):
    """What writes DICOM wraps the error in one without a number, and it was called a fault of the program."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        said = wardround("hospitals", "new", "disk/h", "--sites", "3", "--scale", "0.1", cwd=tmp_path, code=50)
        assert "disk/h: the disk is full. Make room, or choose another folder." in said
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_does_not_take_a_file_is_no_fault_of_the_program(number, monkeypatch, capsys):
    def fails(**_: object) -> None:
        raise OSError(number, os.strerror(number), "/data/Erika_Mustermann.dcm")

    monkeypatch.setattr(cli, "commands", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == cli.INTERNAL
    assert os.strerror(number) in said and "Mustermann" not in said and "fault of the program" not in said


def test_help_exists_and_fits_the_terminal_of_whoever_started():
    """80 columns are what a new terminal has."""
    found = subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", "site", "join", "--help"],
        cwd=ROOT, env=environment(COLUMNS="80"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert max(map(len, found.stdout.splitlines())) <= 80
