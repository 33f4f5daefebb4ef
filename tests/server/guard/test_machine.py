"""The SuperLink's machine: what its process shows, what another user reaches, and what the start before leaves."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from flwr.proto.runtime_pb2 import AcquireTaskRequest

from server.flower.guard import HEADER
from server.flower.supervisor import CONTROL, DATABASE, EXECUTOR, Coordinator
from tests.server.guard.test_nodes import fleet, statuses
from tests.support.deployment import wait_for
from tests.support.other_user import as_nobody, needs_root, open_folder, readable_by_nobody
from tests.support.strangers import START, runs, stock_executor
from tests.support.superlink import RunningSuperLink, is_healthy, running_superlink

Own = tuple[RunningSuperLink, Coordinator]


@pytest.fixture(scope="module")
def own() -> Iterator[Own]:
    """A SuperLink that only these tests talk to: what they find in its log, its coordinator's calls left there."""
    with open_folder() as folder, running_superlink(folder / "consortium") as running:
        yield running


def test_no_secret_in_arguments_environment_or_log(own: Own) -> None:
    """After calls that carry the secret, also one that carries it where it does not belong."""
    superlink, coordinator = own
    assert coordinator.process is not None and runs(superlink) == set()
    assert superlink.post(f"/health?{HEADER}={superlink.secret}", method="GET") == 200
    process = Path(f"/proc/{coordinator.process.pid}")
    shown = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    shown += (superlink.consortium.state / "superlink.log").read_bytes()
    assert b"server.flower.superlink" in shown and b"ListRuns" in shown
    for secret in (superlink.secret, superlink.executor):
        assert secret.encode() not in shown


@needs_root
def test_another_local_user_can_neither_call_nor_read(own: Own) -> None:
    superlink, coordinator = own
    before, state = runs(superlink), superlink.consortium.state
    closed = [state, *(state / name for name in (CONTROL, EXECUTOR, DATABASE)), superlink.consortium.server_key]
    open_to_all = superlink.folder.parent / "read-me"
    open_to_all.write_text("readable")
    closed += list((superlink.folder / "ca").glob("*.key"))
    assert readable_by_nobody([open_to_all, *closed]) == [open_to_all]
    assert coordinator.process is not None
    of_process = Path(f"/proc/{coordinator.process.pid}")
    assert readable_by_nobody([of_process / "environ", of_process / "mem", of_process / "cmdline"]) == [
        of_process / "cmdline"
    ]
    ask = (
        "context = ssl.create_default_context(cadata=sys.argv[2])\n"
        "for path in sys.argv[3:]:\n"
        "    there = http.client.HTTPSConnection('127.0.0.1', int(sys.argv[1]), context=context)\n"
        "    there.request('POST', path, body=b'', headers={'Content-Type': 'application/protobuf'})\n"
        "    print(there.getresponse().status)\n"
    )
    ca = superlink.consortium.ca_certificate.decode()
    said = as_nobody(
        ask, str(superlink.port), ca, START, "/v1/runtime/acquire-task", "/v1/fleet/get-fab", "/v1/fleet/pull-messages",
        imports="import http.client, ssl, sys, encodings.idna",
    )  # fmt: skip
    assert said.split() == ["403", "403", "403", "401"]
    assert runs(superlink) == before


def test_the_secrets_of_the_start_before_open_nothing(own: Own) -> None:
    superlink, coordinator = own
    old, old_executor, process = superlink.secret, superlink.executor, coordinator.process
    assert process is not None and superlink.post("/v1/control/list-runs", {HEADER: old}) == 200
    process.kill()
    process.wait()
    wait_for(lambda: coordinator.process is not process, "another SuperLink")
    wait_for(lambda: is_healthy(superlink), "healthy again")
    with ThreadPoolExecutor(8) as threads:  # the first calls of all, at once: nobody is taken for a stranger
        first = [threads.submit(statuses, fleet(superlink, superlink.keys["north"])) for _ in range(8)]
        assert {said.result()["activate"] for said in first} <= {200, 412}
    assert superlink.secret != old and superlink.executor != old_executor
    assert superlink.post("/v1/control/list-runs", {HEADER: old}) == 403
    assert superlink.post("/v1/control/list-runs", superlink.known()) == 200
    with pytest.raises(httpx.HTTPStatusError) as refused:
        stock_executor(superlink, secret=old_executor).AcquireTask(AcquireTaskRequest())
    assert refused.value.response.status_code == 403
