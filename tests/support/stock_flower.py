"""Stock Flower on this machine: its SuperLink, its SuperNodes, and an app that does nothing but exchange messages."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from flwr.cli.build import build_fab_from_files
from flwr.common.serde import fab_to_proto
from flwr.proto.control_pb2 import ListNodesRequest, ListRunsRequest, StartRunRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor

from tests.support.deployment import environment, free_port, wait_for

PROJECT = """
[project]
name = "exchanges"
version = "1.0.0"
description = "Messages without work."
license = "Apache-2.0"

[tool.flwr.app]
publisher = "benchmark"

[tool.flwr.app.components]
serverapp = "exchanges.server:app"
clientapp = "exchanges.client:app"
"""
SERVER = """
import json, time
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while len(nodes := list(grid.get_node_ids())) < NODES:
        time.sleep(0.1)
    seconds = []
    for number in range(TIMES):
        asked = [Message(RecordDict({"ask": ConfigRecord({"number": number})}), node, "query") for node in nodes]
        began = time.perf_counter()
        replies = list(grid.send_and_receive(asked))
        seconds.append(time.perf_counter() - began)
        assert len(replies) == NODES and not any(reply.has_error() for reply in replies)
    Path(OUT).write_text(json.dumps(seconds))
"""
CLIENT = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def query(message, context):
    return Message(RecordDict({"told": ConfigRecord({"number": message.content["ask"]["number"]})}), reply_to=message)
"""


def exchange_seconds(folder: Path, *, nodes: int = 2, times: int = 5, limit: float = 300.0) -> list[float]:
    """Seconds of each of `times` exchanges of `Grid.send_and_receive` in one run: a query to each node, its reply.

    As it comes: apps in subprocesses, its defaults for every pause; without TLS, and with nothing downloaded.
    """
    out = folder / "seconds.json"
    with _deployed(folder, nodes) as control:
        head = f"NODES, TIMES, OUT = {nodes}, {times}, {str(out)!r}\n"
        files = {
            "pyproject.toml": PROJECT.encode(),
            "exchanges/__init__.py": b"",
            "exchanges/server.py": (head + SERVER).encode(),
            "exchanges/client.py": CLIENT.encode(),
        }
        content, _ = build_fab_from_files(files)
        run = control.StartRun(
            StartRunRequest(fab=fab_to_proto(Fab(hashlib.sha256(content).hexdigest(), content, {})))
        ).run_id
        ends = time.monotonic() + limit
        while control.ListRuns(ListRunsRequest(run_id=run)).run_dict[run].status.status != "finished":
            assert time.monotonic() < ends, f"stock Flower: not done within {limit:.0f} s"
            time.sleep(0.5)
    seconds: list[float] = json.loads(out.read_text())
    return seconds


@contextlib.contextmanager
def _deployed(folder: Path, nodes: int) -> Iterator[ControlHttpClient]:
    """A SuperLink with its database in memory, as is Flower's default, and connected nodes."""
    address = f"127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        host, port = address.split(":")
        stack.enter_context(
            _process(
                folder,
                "superlink",
                "--insecure",
                "--host",
                host,
                "--port",
                port,
                "--disable-runtime-dependency-installation",
            )
        )
        control = ControlHttpClient.from_server_address(
            address, True, None, [RuntimeVersionHttpInterceptor(component_name="flwr CLI")]
        )
        wait_for(lambda: _online(control) == 0, "stock SuperLink")
        for number in range(nodes):
            its_own = ("--host", "127.0.0.1", "--port", str(free_port()))
            told = ("--insecure", "--superlink", address, *its_own)
            stack.enter_context(_process(folder, "supernode", *told, number=number))
        wait_for(lambda: _online(control) == nodes, "stock SuperNodes")
        yield control


def _online(control: ControlHttpClient) -> int:
    """Connected nodes; -1 while the server does not answer yet."""
    with contextlib.suppress(Exception):
        return sum(node.status == "online" for node in control.ListNodes(ListNodesRequest()).nodes_info)
    return -1


@contextlib.contextmanager
def _process(folder: Path, kind: str, *words: str, number: int = 0) -> Iterator[None]:
    home = folder / f"{kind}{number}"
    home.mkdir()
    env = environment(
        FLWR_HOME=str(home),
        FLWR_TELEMETRY_ENABLED="0",
        FLWR_DISABLE_UPDATE_CHECK="1",
        FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION="1",
        PATH=f"{Path(sys.executable).parent}:/usr/bin:/bin",
    )
    env.pop("PYTHONSAFEPATH")  # Flower finds an app's code by the folder it starts in
    command = [str(Path(sys.executable).parent / f"flower-{kind}"), *words]
    with (folder / f"{kind}{number}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
