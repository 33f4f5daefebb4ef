"""A run of the coordinator's own exists; nobody else starts one, or takes the task of one."""

from __future__ import annotations

import httpx
import pytest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.runtime import RuntimeHttpClient

from server.flower.grid import FlowerRun
from tests.support.strangers import an_app, runs, stock_control, stock_executor
from tests.support.superlink import RunningSuperLink


def test_a_run_that_anybody_starts_does_not_exist(superlink: RunningSuperLink) -> None:
    before = runs(superlink)
    with pytest.raises(httpx.HTTPStatusError) as refused:
        stock_control(superlink).StartRun(an_app())
    assert refused.value.response.status_code == 403
    assert runs(superlink) == before


def test_nobody_else_takes_the_task_of_a_run(superlink: RunningSuperLink) -> None:
    """Not from outside with the executor's secret, nor past the guard without it."""
    ask = AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
    address, ca = superlink.consortium.address, superlink.consortium.ca_certificate
    with_guard = RuntimeHttpClient.from_server_address(address, False, ca, [*superlink.place.interceptors()])
    superlink.place.clients()[0].StartRun(an_app())  # by one who knows the secret: now there is a task
    for executor, status in (
        (stock_executor(superlink, secret=superlink.executor), 403),
        (stock_executor(superlink, secret="0" * 64), 403),
        (with_guard, 401),
    ):
        with pytest.raises(httpx.HTTPStatusError) as refused:
            executor.AcquireTask(ask)
        assert refused.value.response.status_code == status


def test_the_coordinators_own_run_exists(superlink: RunningSuperLink) -> None:
    before = runs(superlink)
    with FlowerRun(superlink.place) as grid:
        assert runs(superlink) - before == {grid.run.run_id}
