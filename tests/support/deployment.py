"""A consortium on this machine for real: a coordinator, sites as processes, TLS, node keys. Ports are free ones.

Its programs may be of several releases: which one a site or the coordinator runs, is said by the folder of its source.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from client.consent.approvals import Approvals
from client.relay import RelayClient
from client.site import read_site
from common.study import Study, read_study
from server.consortium.consortium import Consortium
from server.flower.control import Nodes, by_site
from server.flower.supervisor import node_keys, place_of
from tests.support.enrol_all import enrol_all
from tests.support.warm import Warm

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 90.0
COORDINATOR = "coordinator"  # among the names of sites, where it is said who runs which program

Wrap = Callable[[list[str]], list[str]]


def free_port() -> int:
    """That nobody listens on just now."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """Of a started process: quiet, one thread, this code, no proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"} | more


def wait_for(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Until `true()`; an assertion that names `what` after so many seconds."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


def command(program: Path, *words: str | Path, code: int = 0) -> str:
    """What `wardround WORDS…` of the source in this folder says, on both streams. An assertion on its exit code."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", *map(str, words)],
        cwd=program, env=environment(PYTHONPATH=str(program)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout + done.stderr


class Process:
    """`wardround WORDS…` with its output in a file. `warm`: started by `tests.support.warm`, without waiting for
    imports.
    """

    def __init__(
        self, log: Path, *words: str, wrap: Wrap = list, env: dict[str, str] | None = None, warm: bool = False
    ) -> None:
        self.log = log
        self.popen: subprocess.Popen[bytes] | Warm
        if warm and wrap in (list, in_own_network) and env is None:
            self.popen = Warm(log, words, environment(), network=wrap is list or not MAY_UNSHARE)
            return
        command = wrap([sys.executable, "-P", "-m", "deploy.cli", *words])
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                command, cwd=ROOT, env=env or environment(), stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def runs(self) -> bool:
        return self.popen.poll() is None

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """At once, with nothing said: as a power cut does to one process."""
        self.popen.kill()
        self.popen.wait()

    def ask_to_stop(self) -> None:
        """As a person or systemd does, without waiting for the end."""
        if self.runs:
            self.popen.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """The same, to the end."""
        if self.runs:
            self.ask_to_stop()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def wait(self, seconds: float) -> int:
        """Its exit code."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:.0f} s:\n{self.text[-3000:]}") from None


class SiteUp:
    """One site's two processes, each of which a test may kill and start again."""

    def __init__(
        self, folder: Path, logs: Path, *, agent: Wrap = list, env: dict[str, str] | None = None, warm: bool = False
    ) -> None:
        self.folder, self._logs, self._wrap, self.env, self._warm = folder, logs, agent, env, warm
        self.site = read_site(folder)
        self.name = self.site.file.site
        self.connector_folder = self.site.path(self.site.file.connector)
        self.socket = self.site.path(self.site.file.socket)
        self.state = self.site.path(self.site.file.state)
        self.agent = self.start_agent()
        self.connector = self.start_connector()

    def start_agent(self, *, wait: bool = False) -> Process:
        log = self._logs / f"{self.name}.agent.log"
        words = ("site", "agent", "--at", str(self.folder))
        self.agent = Process(log, *words, wrap=self._wrap, env=self.env, warm=self._warm)
        if wait:
            self.wait_for_agent()
        return self.agent

    def wait_for_agent(self) -> None:
        client = RelayClient(self.socket)
        wait_for(client.is_serving, f"agent of {self.name}")
        client.close()

    def start_connector(self) -> Process:
        self.connector = Process(
            self._logs / f"{self.name}.connector.log",
            *("site", "connector", "--folder", str(self.connector_folder), "--socket", str(self.socket)),
            env=self.env,
            warm=self._warm,
        )
        return self.connector

    def stop(self) -> None:
        for process in (self.connector, self.agent):
            process.stop()


class Deployment:
    """A coordinator and sites over the hospital folders in `hospitals`; a context manager that ends them all.

    `warm`: its processes' imports are made already. `programs`: the source that a site, or COORDINATOR, runs in place
    of this one. Then all are enrolled by the commands of their own programs, and these sites approve by them.
    """

    def __init__(
        self,
        folder: Path,
        hospitals: Path,
        *,
        agents: Wrap = list,
        also: Sequence[str] = (),
        warm: bool = False,
        programs: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder, self.port = folder, free_port()
        self.at, self.logs = folder / "consortium", folder / "logs"
        self.logs.mkdir(parents=True)
        self._agents, self._warm = agents, warm
        self.site_folders = sorted(path.parent for path in hospitals.glob("*/site.yaml"))
        self.programs = dict(programs or {})
        if self.programs:
            self._enrolled_by_commands()
        else:
            enrol_all(self.at, self.site_folders, "127.0.0.1", self.port, also=also)
        self.sites: dict[str, SiteUp] = {}
        self._processes: list[Process] = []

    def __enter__(self) -> Deployment:
        self.start_coordinator()
        for folder in self.site_folders:
            env = self.environment(read_site(folder).file.site)
            site = SiteUp(folder, self.logs, agent=self._agents, env=env, warm=self._warm)
            self.sites[site.name] = site
        for site in self.sites.values():
            site.wait_for_agent()
        wait_for(lambda: self.online() == set(self.sites), "sites connected")
        return self

    def __exit__(self, *_: object) -> None:
        sites = [process for site in self.sites.values() for process in (site.connector, site.agent)]
        for process in (*self._processes, *sites, self.coordinator):
            process.ask_to_stop()  # all of them at once: each takes seconds
        for process in reversed(self._processes):
            process.stop()
        for site in self.sites.values():
            site.stop()
        self.coordinator.stop()

    def program(self, name: str) -> Path:
        """The source that a site, or COORDINATOR, runs."""
        return self.programs.get(name, ROOT)

    def environment(self, name: str) -> dict[str, str] | None:
        """Of its processes; None where they run this source."""
        return environment(PYTHONPATH=str(self.programs[name])) if name in self.programs else None

    def _enrolled_by_commands(self) -> None:
        """Requests, kits and joins, as people at several machines make them."""
        here, kits = self.program(COORDINATOR), self.folder / "kits"
        made = ("--host", "127.0.0.1", "--port", str(self.port), "--at", self.at)
        command(here, "consortium", "new", "consortium", *made)
        names = {folder: read_site(folder).file.site for folder in self.site_folders}
        for folder, name in names.items():
            request = self.folder / f"{name}.request.yaml"
            command(self.program(name), "site", "enrol", "--at", folder, "--out", request)
            command(here, "consortium", "admit", request, "--at", self.at, "--yes", "--out", self.folder / "kit.yaml")
        command(here, "consortium", "kits", "--at", self.at, "--out", kits)
        for folder, name in names.items():
            command(self.program(name), "site", "join", kits / f"{name}.yaml", "--at", folder, "--yes")

    @property
    def consortium(self) -> Consortium:
        return Consortium.read(self.at)

    def start_coordinator(self) -> Process:
        words = ("coordinator", "up", "--at", str(self.at), "--bind", "127.0.0.1")
        env = self.environment(COORDINATOR)
        self.coordinator = Process(self.logs / "coordinator.log", *words, env=env, warm=self._warm)
        wait_for(lambda: "sites are enrolled" in self.coordinator.text, "coordinator")
        return self.coordinator

    def online(self) -> set[str]:
        """Sites that Flower's server holds for connected."""
        nodes = by_site(Nodes(place_of(self.consortium)).listed(), node_keys(self.consortium))
        return {site for site, node in nodes.items() if node.online}

    def approve(self, study: Path) -> Study:
        """At every site, as its people would."""
        found = read_study(study)
        for site in self.sites.values():
            if site.name in self.programs:
                command(self.program(site.name), "site", "approve", study, "--yes", "--at", site.folder)
            else:
                Approvals(site.state).approve(found)
        return found

    def run(self, study: Path, name: str, *more: str) -> Process:
        """`wardround run`, started."""
        return self._started("run", str(study), "--at", str(self.at), "--run", name, *more, log=name)

    def resume(self, name: str, *more: str) -> Process:
        """`wardround resume`, started."""
        return self._started("resume", name, "--at", str(self.at), *more, log=f"{name}-resumed")

    def _started(self, *words: str, log: str) -> Process:
        env = self.environment(COORDINATOR)
        process = Process(self.logs / f"{log}.run.log", *words, env=env, warm=self._warm)
        self._processes.append(process)
        return process

    def checkpoint(self, name: str) -> Path:
        return self.at / "runs" / name / "checkpoint.npz"

    def everything_said(self) -> Iterator[bytes]:
        """All that the coordinator's machine holds: its folder, file by file."""
        for path in self.at.rglob("*"):
            if path.is_file():
                with contextlib.suppress(OSError):
                    yield path.read_bytes()


MAY_UNSHARE = subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode == 0


def in_own_network(command: Sequence[str]) -> list[str]:
    """The command in a new network namespace, with no interface but a loopback that is down; where that is allowed."""
    return ["unshare", "--net", "--", *command] if MAY_UNSHARE else list(command)
