"""Which node keys the SuperLink lets in, and as whom."""

from __future__ import annotations

import datetime
import threading
import types
from typing import Self

import httpx
import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.node_pb2 import Node

import client.network.fleet
from client.network.fleet import Fleet
from common.errors import IdentityError
from common.identity.node_key import generate
from server.flower.guard import FLEET
from tests.support.deployment import wait_for
from tests.support.superlink import RunningSuperLink


def fleet(superlink: RunningSuperLink, key: bytes) -> Fleet:
    return Fleet(superlink.consortium.address, superlink.consortium.ca_certificate, key, stopped=threading.Event())


def statuses(node: Fleet) -> dict[str, int]:
    """What the SuperLink answers to this node's calls."""
    client, public = node._client, node._public
    calls = {
        "activate": lambda: client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=15)),
        "pull": lambda: client.PullMessages(PullMessagesRequest(node=Node(node_id=node.node))),
        "beat": node.beat,
    }
    found = {}
    for name, call in calls.items():
        try:
            call()
            found[name] = 200
        except httpx.HTTPStatusError as error:
            found[name] = error.response.status_code
    return found


def test_a_fleet_call_without_a_signature_is_401(superlink: RunningSuperLink) -> None:
    for path in sorted(FLEET):
        assert superlink.post(path) == 401, path


def test_the_guards_secret_is_no_signature(superlink: RunningSuperLink) -> None:
    for path in sorted(FLEET):
        assert superlink.post(path, superlink.known()) == 401, path


def test_an_unenrolled_key_is_401_everywhere(superlink: RunningSuperLink) -> None:
    node = fleet(superlink, generate())
    assert statuses(node) == {"activate": 401, "pull": 401, "beat": 401}
    with pytest.raises(IdentityError, match="does not know this site's node key"):
        node.activate()


def test_an_enrolled_key_is_let_in_and_cannot_speak_for_another(superlink: RunningSuperLink) -> None:
    north, south = (fleet(superlink, superlink.keys[site]) for site in ("north", "south"))
    mine, theirs = north.activate(), south.activate()
    assert mine != theirs and north.beat() and north.pull() is None
    stranger = fleet(superlink, generate())
    for other in (north, stranger):
        other.node = theirs
        with pytest.raises(httpx.HTTPStatusError) as refused:
            other.beat()
        assert refused.value.response.status_code == 401
    north.node = mine
    north.leave()
    south.leave()


def test_a_node_that_is_still_connected_is_not_called_unknown(superlink: RunningSuperLink) -> None:
    """A connector that was killed and comes back: 401 would say that it is not enrolled."""
    north = fleet(superlink, superlink.keys["north"])
    north.activate()
    again = fleet(superlink, superlink.keys["north"])
    assert statuses(again)["activate"] == 412
    with pytest.raises(IdentityError, match="holds this site for connected"):
        again.activate()
    assert fleet(superlink, superlink.keys["north"]).activate(before=north.node) == north.node
    north.leave()


def is_let_in(node: Fleet) -> bool:
    try:
        return bool(node.activate())
    except IdentityError:
        return False


def test_a_removed_site_is_401(superlink: RunningSuperLink) -> None:
    key = superlink.admit("gone")
    wait_for(lambda: "gone" in superlink.admitted(), "admitted")
    node = fleet(superlink, key)
    wait_for(lambda: is_let_in(node), "let in")  # the guard looks once in a while who is admitted
    superlink.consortium.remove("gone")
    wait_for(lambda: set(statuses(node).values()) == {401}, "removed", 20)


@pytest.mark.parametrize("minutes", [-10, 10, 60 * 24])
def test_a_site_whose_clock_is_off_is_let_in(
    superlink: RunningSuperLink, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower takes five minutes of difference: the first call is refused, and the second is signed by its clock."""
    shift = datetime.timedelta(minutes=minutes)

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            return super().now(tz) + shift

    asked: list[int] = []
    call = httpx.Client.send
    monkeypatch.setattr(httpx.Client, "send", lambda *a, **k: _noted(call(*a, **k), asked))
    names = {name: getattr(datetime, name) for name in ("UTC", "timedelta")}
    monkeypatch.setattr(client.network.fleet, "datetime", types.SimpleNamespace(datetime=Shifted, **names))
    node = fleet(superlink, superlink.keys["south"])
    assert node.activate() and node.beat() and node.pull() is None
    assert asked == [401, 200, 200, 200]
    node.leave()


def _noted(response: httpx.Response, asked: list[int]) -> httpx.Response:
    asked.append(response.status_code)
    return response
