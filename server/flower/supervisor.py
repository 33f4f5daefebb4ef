"""The coordinator's server: Flower's SuperLink as a guarded process, kept alive, with exactly the admitted node keys.

`up` runs until it is stopped. It makes new secrets at each start of the SuperLink, starts it again when it dies, and
lets in and out the node keys of the consortium's folder as sites are admitted and removed.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import httpx

from common.disk.atomic_file import write_whole
from common.errors import RunError
from common.identity.enrolment import address
from common.processes.kept import Kept
from server.consortium.certificates import names_in
from server.consortium.consortium import Consortium
from server.consortium.renewal import Announcer, renew_if_needed
from server.flower.control import Nodes, Place, make_secret, stored_key

log = logging.getLogger("wardround.coordinator")

CONTROL, EXECUTOR, DATABASE, LOG = "control.secret", "executor.secret", "superlink.db", "superlink.log"
ADDRESS = "address"
NEAR = {"0.0.0.0": "127.0.0.1", "127.0.0.1": "127.0.0.1", "::": "::1", "::1": "::1"}  # noqa: S104  # bind -> loopback
START_SECONDS = 60.0
STOP_SECONDS = 3.0  # its web server waits for connections that sites keep open; the database stands a kill
# For glibc: the server handles chunks of several megabytes in some forty threads. By its defaults each thread keeps
# what it once needed; like this, memory of a megabyte and more goes back to the system when it is freed.
SPARING = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
TAKEN = "Is a coordinator running already? `ss -ltnp` shows which program has the port."
ENDING_SECONDS = 6.0  # of a server whose coordinator was killed: see server/flower/superlink.py
LOOK_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0


def place_of(consortium: Consortium) -> Place:
    """Where this machine's own commands reach the SuperLink, as its start wrote it down."""
    state = consortium.state
    told = state / ADDRESS
    where = told.read_text(encoding="ascii") if told.exists() else consortium.address
    return Place(where, consortium.ca_file, state / CONTROL, state / EXECUTOR)


def near_address(consortium: Consortium, bind: str) -> str:
    """The loopback address, if the server listens there and its certificate is for it; else what sites call.

    What sites call often leads nowhere from the machine itself: a name of the outer network, a router in between.
    """
    near = NEAR.get(bind)
    if near is None or near not in names_in(consortium.server_certificate.read_bytes()):
        return consortium.address
    return address(near, consortium.port)


def node_keys(consortium: Consortium) -> dict[str, bytes]:
    """site -> its node key in the form that Flower stores."""
    return {site: stored_key(text) for site, text in consortium.node_keys.items()}


@dataclass
class Coordinator:
    """`bind`: the address that the SuperLink listens on, all of this machine's by default."""

    folder: Path
    bind: str = "0.0.0.0"  # noqa: S104  # sites connect from other machines; what they reach is guarded
    stopped: threading.Event = field(default_factory=threading.Event)
    _kept: Kept = field(init=False)

    def __post_init__(self) -> None:
        self._kept = Kept(self._start, longest=LONGEST_PAUSE_SECONDS, patience=STOP_SECONDS)

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The SuperLink, as it was started last."""
        return self._kept.process

    def up(self) -> None:
        """Serve until `stopped`."""
        while not self.stopped.is_set():
            self._kept.begin()
            try:
                self._wait_until_healthy()
                self._serve()
            except (httpx.HTTPError, RunError) as error:
                log.error("%s", error if isinstance(error, RunError) else f"In trouble: {type(error).__name__}.")
            self._kept.end()
            self.stopped.wait(self._kept.pause() if not self.stopped.is_set() else 0)

    def _start(self) -> subprocess.Popen[bytes]:
        consortium = Consortium.read(self.folder)
        _require_free(self.bind, consortium.port)
        renew_if_needed(consortium)
        state = consortium.state
        write_whole(state / ADDRESS, near_address(consortium, self.bind).encode())
        for name in (CONTROL, EXECUTOR):
            make_secret(state / name)
        environment = os.environ | SPARING | {"FLWR_HOME": str(state / "flower"), "PYTHONPATH": _import_path()}
        with (state / LOG).open("ab") as output:
            process = subprocess.Popen(_command(consortium, self.bind), env=environment, stdout=output, stderr=output)
        log.info("SuperLink started as process %d", process.pid)
        return process

    def _wait_until_healthy(self) -> None:
        place, ends = place_of(Consortium.read(self.folder)), time.monotonic() + START_SECONDS
        with httpx.Client(verify=str(place.ca), trust_env=False) as client:
            while time.monotonic() < ends and not self.stopped.is_set():
                self._require_alive()
                try:
                    if client.get(f"https://{place.address}/health").status_code == httpx.codes.OK:
                        _require_guarded(client, place.address)
                        return
                except httpx.TransportError:
                    time.sleep(0.2)
        if not self.stopped.is_set():
            raise RunError(f"The SuperLink does not answer at {place.address}. Its log: state/superlink.log.")

    def _serve(self) -> None:
        """Until it dies, or is to stop: keep the node keys as the folder has them."""
        known: dict[str, bytes] | None = None
        place, announcer = place_of(Consortium.read(self.folder)), Announcer.of(Consortium.read(self.folder))
        while not self.stopped.wait(LOOK_SECONDS):
            self._require_alive()
            announcer.look(datetime.now(UTC))
            keys = node_keys(Consortium.settled(self.folder))
            if keys != known:
                _admit(keys, place)
                known = keys

    def _require_alive(self) -> None:
        if not self._kept.is_running:
            raise RunError("The SuperLink ended. Its log says why: state/superlink.log.")


def _command(consortium: Consortium, bind: str) -> list[str]:
    state = consortium.state
    flags = {
        "--host": bind,
        "--port": str(consortium.port),
        "--ssl-certfile": str(consortium.server_certificate),
        "--ssl-keyfile": str(consortium.server_key),
        "--ssl-ca-certfile": str(consortium.ca_file),
        "--database": str(state / DATABASE),
        "--isolation": "process",
        "--superexec-auth-secret-file": str(state / EXECUTOR),
    }
    command = [sys.executable, "-P", "-m", "server.flower.superlink", str(state / CONTROL)]
    command += [part for pair in flags.items() for part in pair]
    return [*command, "--enable-supernode-auth", "--disable-runtime-dependency-installation"]


def _admit(keys: Mapping[str, bytes], place: Place) -> None:
    """Let in exactly these sites. One with a key that was taken off before stays outside; the others are served."""
    barred = Nodes(place).admit(keys.values())
    for site in (site for site, key in keys.items() if key in barred):
        log.error(
            "site %s is not let in: its node key was taken off the server before. Remove the site, and have it run "
            "`wardround site enrol --new-keys`", site,
        )  # fmt: skip
    log.info("%d sites are enrolled", len(keys) - len(barred))


def _require_guarded(client: httpx.Client, address: str) -> None:
    """RunError when the control API answers without the secret: another release of Flower may not ask the guard."""
    for path in ("/v1/control/list-runs", "/v1/runtime/acquire-task", "/v1/fleet/get-fab"):
        if client.post(f"https://{address}{path}").status_code != httpx.codes.FORBIDDEN:
            raise RunError(
                "The SuperLink answers without its guard, and is ended. Install the release of Flower that was tested."
            )


def _require_free(bind: str, port: int) -> None:
    """RunError, rather than a server that dies again and again, when another program has the port. The server of a
    coordinator that was killed lets it go within seconds.
    """
    ends = time.monotonic() + ENDING_SECONDS
    while (problem := _in_the_way(bind, port)) is not None:
        taken = problem.errno == errno.EADDRINUSE
        if not taken or time.monotonic() > ends:
            way_out = TAKEN if taken else "--bind takes an address of this machine, and ports below 1024 are root's."
            raise RunError(f"Port {port} of {bind} cannot be used ({problem.strerror}). {way_out}")
        time.sleep(0.2)


def _in_the_way(bind: str, port: int) -> OSError | None:
    with socket.socket(socket.AF_INET6 if ":" in bind else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((bind, port))
        except OSError as problem:
            return problem
    return None


def _import_path() -> str:
    """The started process has a safe path: it must find this package where this process found it."""
    here = str(Path(str(files("server"))).resolve().parent)
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
