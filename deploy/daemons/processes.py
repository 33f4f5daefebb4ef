"""What runs for long: a site's agent and connector, their supervisor on a plain host, the coordinator's server."""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from common.disk.atomic_file import make_private
from common.errors import RunError
from common.processes.kept import Kept
from deploy.daemons.alone import ENDING_SECONDS, alone

if TYPE_CHECKING:
    from client.site import SiteFolder

log = logging.getLogger("wardround.daemon")

AGENT_LOCK, CONNECTOR_LOCK = "agent.lock", "connector.lock"
LATEST_SECONDS = 60.0  # before a process that ended is started again


def agent(folder: Path) -> None:
    """Run a site's agent until it is told to stop."""
    import torch

    from client.agent.agent import Agent
    from client.site import read_site
    from common.disk.audit import AUDIT_FILE, Audit, Started

    site = read_site(folder)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    made = Agent(site)
    make_private(made.state)
    with _logged(), _until_told() as stopped, alone(made.state / AGENT_LOCK, f"agent of {site.file.site}"):
        Audit(made.state / AUDIT_FILE).append(Started(version("wardround")))
        server = made.serve(site.path(site.file.socket))
        log.info("agent of site %s: listening", site.file.site)
        threading.Thread(target=_load_the_rest, name="load", daemon=True).start()
        threading.Thread(target=made.keep_tidy, args=(stopped,), name="tidy", daemon=True).start()
        stopped.wait()
        server.stop()


def _load_the_rest() -> None:
    """What PyTorch and Opacus load at their first step takes seconds: have it before the first round asks."""
    import torch
    from opacus.accountants import RDPAccountant
    from opacus.grad_sample import GradSampleModule

    _ = RDPAccountant, GradSampleModule
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    torch.optim.SGD([parameter], lr=0.1).step()


def connector(folder: Path, socket: Path) -> None:
    """Run a site's connector until it is told to stop."""
    import httpx

    from client.network.connector import Connector
    from client.network.fleet import Fleet, reason
    from client.relay import RelayClient
    from common.identity.enrolment import Coordinator

    _require_joined(folder)
    told = Coordinator.read(folder / "coordinator.yaml")
    with _logged(), _until_told() as stopped, alone(folder / CONNECTOR_LOCK, f"connector of {told.site}"):
        fleet = Fleet(
            told.address,
            (folder / "ca.crt").read_bytes(),
            (folder / "node.key").read_bytes(),
            stopped=stopped,
            waiting=_late,
        )
        log.info("connector of site %s: calling %s", told.site, told.address)
        try:
            Connector(fleet, RelayClient(socket), folder, stopped).run()
        except httpx.HTTPError as error:
            if not stopped.is_set():  # else it ended while it waited for a server that did not answer
                raise RunError(f"The coordinator at {told.address} cannot be called: {reason(error)}.") from None


def up(folder: Path) -> None:
    """Run both under one supervisor, which starts again whichever ends."""
    from client.site import read_site

    site = read_site(folder)
    here = str(folder)
    with _logged(), _until_told() as stopped:
        _require_ready(site)
        Supervisor(
            {
                "agent": ["site", "agent", "--at", here],
                "connector": [
                    *("site", "connector", "--folder", str(site.path(site.file.connector))),
                    *("--socket", str(site.path(site.file.socket))),
                ],
            },
            stopped,
        ).run()


def _require_ready(site: SiteFolder) -> None:
    """RunError, rather than processes that end again and again, where they cannot run."""
    state, connector = site.path(site.file.state), site.path(site.file.connector)
    _require_joined(connector)
    for lock, name in ((state / AGENT_LOCK, "agent"), (connector / CONNECTOR_LOCK, "connector")):
        with alone(lock, f"{name} of {site.file.site}"):
            pass


def _require_joined(connector: Path) -> None:
    if not (connector / "coordinator.yaml").exists():
        raise RunError(
            f"{connector}: this site has joined no consortium. Run `wardround site enrol` first, and then `wardround "
            "site join KIT` with the kit that the coordinator sends."
        )


class Supervisor:
    """Keeps commands of `wardround` running, each as a process of its own."""

    def __init__(self, commands: dict[str, Sequence[str]], stopped: threading.Event) -> None:
        self._stopped = stopped
        self._kept = {
            name: Kept(partial(_started, words), longest=LATEST_SECONDS, patience=ENDING_SECONDS)
            for name, words in commands.items()
        }

    def run(self) -> None:
        """Until stopped; then end all, the youngest first."""
        try:
            while not self._stopped.wait(0.2):
                for name, kept in self._kept.items():
                    if (ended := kept.keep()) is not None:
                        log.error("%s ended with %d; it is started again in %.0f s", name, *ended)
        finally:
            for kept in sorted(self._kept.values(), key=lambda kept: kept.began, reverse=True):
                kept.tell()
            for kept in self._kept.values():
                kept.wait()


def _started(words: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(*words))


def command(*words: str) -> list[str]:
    """`wardround …` as this very installation has it; a child that ends with the process that starts it."""
    return [sys.executable, "-P", "-m", "deploy.ends_with_parent", str(os.getpid()), *words]


def coordinator(folder: Path, bind: str) -> None:
    """Run the coordinator's server until it is told to stop."""
    from common.disk.audit import Started
    from server.consortium.consortium import Consortium
    from server.flower.supervisor import Coordinator

    consortium = Consortium.read(folder)
    with _logged(), _until_told() as stopped:
        consortium.audit.append(Started(version("wardround")))
        log.info("coordinator of %s: sites call %s", consortium.name, consortium.address)
        Coordinator(folder, bind, stopped).up()


def process_of_run(status: Path) -> int:
    """The process that plays a run. RunError when it is not running."""
    from server.run.watch import read_status

    found = read_status(status)
    if found.ended:
        raise RunError(f"The run is not running: {found.ended}.")
    return found.process


def _late(seconds: float) -> None:
    if seconds > 5:
        log.warning("the coordinator does not answer, for %.0f s now", seconds)


@contextmanager
def _logged() -> Iterator[None]:
    """To standard error; and nothing else: a crash must not write what is in memory to disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logger = logging.getLogger("wardround")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        yield stopped
    finally:
        stopped.set()
