"""Whose message it is: an admitted site that knows the name of another's can neither read, delete nor answer it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesRequest, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, ObjectTree, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node

from client.network.fleet import Fleet, Letter, reply_of
from common.messages import ActivityReply, ActivityRequest, from_records, to_records
from common.network.flower_objects import CHUNK_BYTES
from common.record_bytes import to_bytes
from server.flower.grid import FleetGrid, FlowerRun
from tests.server.guard.test_nodes import fleet
from tests.support.superlink import RunningSuperLink


@pytest.fixture(scope="module")
def sites(superlink: RunningSuperLink) -> Iterator[tuple[Fleet, Fleet]]:
    both = fleet(superlink, superlink.keys["north"]), fleet(superlink, superlink.keys["south"])
    for site in both:
        site.activate()
    yield both
    for site in both:
        site.leave()


@pytest.fixture(scope="module")
def grid(superlink: RunningSuperLink, sites: tuple[Fleet, Fleet]) -> Iterator[FleetGrid]:
    with FlowerRun(superlink.place) as running:
        yield running


REPLY = to_bytes(to_records(ActivityReply("training", 1, 2, 3)))
LARGE = bytes(CHUNK_BYTES + 5)  # in two chunks


def sent(grid: FleetGrid, site: Fleet) -> str:
    """The name of a message to the site."""
    message = grid.create_message(to_records(ActivityRequest("run")), "query.activity", site.node, "", ttl=60.0)
    [name] = grid.push_messages([message])
    return name


def letter(site: Fleet, name: str) -> Letter:
    """The message, when the site asks for it; what a test before left is confirmed."""
    while (found := site.pull()) is not None and found.key != name:
        site.confirm(found)
    assert found is not None
    return found


def announced(site: Fleet, found: Letter, children: Sequence[str] = (), **changed: str | int) -> list[str]:
    """The objects that the server wants of a reply that is announced so."""
    told = message_to_proto(reply_of(found, REPLY)[0])
    for name, value in changed.items():
        setattr(told.metadata, name, value)
    tree = ObjectTree(object_id=told.metadata.message_id, children=[ObjectTree(object_id=name) for name in children])
    answer = site._client.PushMessages(
        PushMessagesRequest(node=Node(node_id=site.node), messages_list=[told], message_object_trees=[tree])
    )
    return list(answer.objects_to_push)


def content(site: Fleet, grid: FleetGrid, name: str) -> bytes:
    node = Node(node_id=site.node)
    return bytes(
        site._client.PullObject(PullObjectRequest(node=node, run_id=grid.run.run_id, object_id=name)).object_content
    )


def confirm(site: Fleet, grid: FleetGrid, name: str) -> None:
    node = Node(node_id=site.node)
    site._client.ConfirmMessageReceived(
        ConfirmMessageReceivedRequest(node=node, run_id=grid.run.run_id, message_object_id=name)
    )


def answered(grid: FleetGrid, name: str, seconds: float = 10.0) -> bool:
    """Whether the run has the honest reply to the message, within so many seconds."""
    ends = time.monotonic() + seconds
    while not (came := list(grid.pull_messages([name]))):
        if time.monotonic() > ends:
            return False
        time.sleep(0.05)
    return not came[0].has_error() and isinstance(from_records(came[0].content), ActivityReply)


def test_anothers_message_is_not_read(grid: FleetGrid, sites: tuple[Fleet, Fleet]) -> None:
    north, south = sites
    name = sent(grid, north)
    assert content(south, grid, name) == b""
    assert content(north, grid, name) != b""
    found = letter(north, name)
    assert content(south, grid, name) == b"" and content(north, grid, name) != b""
    north.confirm(found)
    north.push(found, REPLY, 0.0)
    assert answered(grid, name)


def test_anothers_message_is_not_deleted(grid: FleetGrid, sites: tuple[Fleet, Fleet]) -> None:
    north, south = sites
    name = sent(grid, north)
    confirm(south, grid, name)
    found = letter(north, name)
    confirm(south, grid, name)
    assert content(north, grid, name) != b""
    confirm(north, grid, name)
    assert content(north, grid, name) == b""
    north.push(found, REPLY, 0.0)
    assert answered(grid, name)


def test_anothers_message_is_not_answered(grid: FleetGrid, sites: tuple[Fleet, Fleet]) -> None:
    """In its own name, or in the other's."""
    north, south = sites
    name = sent(grid, north)
    found = letter(north, name)
    assert announced(south, found) == []
    assert announced(south, found, src_node_id=south.node) == []
    north.confirm(found)
    assert not answered(grid, name, 0.5)
    north.push(found, REPLY, 0.0)
    assert answered(grid, name)


def test_a_site_sends_no_requests_to_another(grid: FleetGrid, sites: tuple[Fleet, Fleet]) -> None:
    """A message that replies to nothing was taken for the coordinator's own, and delivered."""
    north, south = sites
    mine = letter(south, sent(grid, south))
    assert announced(south, mine, reply_to_message_id="", src_node_id=1, dst_node_id=north.node) == []
    assert north._client.PullMessages(PullMessagesRequest(node=Node(node_id=north.node))).messages_list == []
    south.confirm(mine)
    south.push(mine, REPLY, 0.0)
    assert answered(grid, mine.key)


def test_a_reply_takes_no_other_message_with_it(grid: FleetGrid, sites: tuple[Fleet, Fleet]) -> None:
    """Named as a part of a reply, or as the reply itself, another's message would be read, or deleted with it."""
    north, south = sites
    name, mine = sent(grid, north), letter(south, sent(grid, south))
    assert announced(south, mine, children=[name]) == []
    assert announced(south, mine, message_id=name) == []
    found = letter(north, name)
    reply, _ = reply_of(found, REPLY)
    assert announced(north, found) == [reply.metadata.message_id]
    assert announced(south, mine, children=[reply.metadata.message_id]) == []
    assert announced(south, mine, message_id=reply.metadata.message_id) == []
    for site, own in ((south, mine), (north, found)):
        site.confirm(own)
        site.push(own, REPLY, 0.0)
        assert answered(grid, own.key)


def test_another_brings_no_object_of_a_reply(grid: FleetGrid, sites: tuple[Fleet, Fleet]) -> None:
    """An object's name is the digest of its bytes: other bytes are not taken, and the right ones still are."""
    north, south = sites
    found = letter(north, sent(grid, north))
    north.confirm(found)
    [wanted] = announced(north, found)
    put = PushObjectRequest(
        node=Node(node_id=south.node), run_id=grid.run.run_id, object_id=wanted, object_content=b"Message  3\0abc"
    )
    assert not south._client.PushObject(put).stored
    north.push(found, REPLY, 0.0)
    assert answered(grid, found.key)


def test_a_large_reply_is_sent_whole_also_when_two_sites_send_the_same(
    grid: FleetGrid, sites: tuple[Fleet, Fleet]
) -> None:
    names = [sent(grid, site) for site in sites]
    for site, name in zip(sites, names, strict=True):
        found = letter(site, name)
        site.confirm(found)
        site.push(found, LARGE, 0.0)
    for name in names:
        assert grid.pull_messages([name]), "its chunks are not all there"


def test_a_large_message_is_handed_over_whole_also_when_the_connection_then_ends(
    grid: FleetGrid, sites: tuple[Fleet, Fleet]
) -> None:
    """The door cuts a stranger's last answer off, and no site's."""
    north, content = sites[0], RecordDict({"filler": ConfigRecord({"filler": bytes(2 * CHUNK_BYTES)})})
    [name] = grid.push_messages([grid.create_message(content, "query.activity", north.node, "", ttl=60.0)])
    headers = vars(north._client)["_client"].headers
    headers["Connection"] = "close"
    try:
        assert len(letter(north, name).data) > 2 * CHUNK_BYTES
        confirm(north, grid, name)
    finally:
        del headers["Connection"]
