"""A connector hangs on no agent that shows no life."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing

import grpc
import pytest

import client.relay
from client.relay import RelayClient
from common.messages import ConfirmRequest
from tests.support.agent import AgentSite, sent

ASKED = sent(ConfirmRequest(1, ()))


def test_an_agent_that_shows_no_life_is_given_up_and_asked_again(
    site: AgentSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connector was seen waiting for minutes; it had no deadline at all."""
    monkeypatch.setattr(client.relay, "LOOK_SECONDS", 0.3)
    monkeypatch.setattr(client.relay, "SILENT_SECONDS", 1.0)
    with site.process() as process, closing(RelayClient(site.socket)) as caller:
        assert caller.answer(ASKED)
        os.kill(process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(grpc.RpcError):
                caller.answer(ASKED)
            assert time.monotonic() - began < 15
        finally:
            os.kill(process.pid, signal.SIGCONT)
        ends = time.monotonic() + 30
        while not caller.is_serving(2.0) and time.monotonic() < ends:
            time.sleep(0.1)
        assert caller.answer(ASKED)
