"""One leg: a request to each of some sites, and what came back before the deadline. Own push and pull loop.

Flower's `send_and_receive` sleeps three seconds between looks; a secure sum has several legs a round.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from flwr.app import Array, Message
from flwr.serverapp import Grid

from common.errors import RunError
from common.messages import (
    MESSAGE_TYPES,
    REPLIES,
    OtherProtocolError,
    Refusal,
    Reply,
    Request,
    from_records,
    to_records,
)
from common.pause import Pause
from server.lost import Refused, Silence, Why

FIRST_LOOK_SECONDS = 0.002
SLOWEST_LOOK_SECONDS = 0.25
GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Answers:
    """replies: node -> the reply that its request asks for. missing: node -> why there is none, from a closed list.
    declined: the same, of those who were asked beside the leg and need not answer.
    """

    replies: dict[int, Reply]
    missing: dict[int, Why]
    declined: dict[int, Why]
    bytes_down: int
    bytes_up: int


class Asked:
    """Messages that were sent, each to a node, and the answers that have come: by node, in `came`."""

    def __init__(self, grid: Grid, messages: Mapping[int, Message]) -> None:
        self._grid = grid
        self._node_of = dict(zip(grid.push_messages(list(messages.values())), messages, strict=True))
        self.came: dict[int, Message] = {}

    @property
    def all_came(self) -> bool:
        return len(self.came) == len(self._node_of)

    def look(self) -> dict[int, Message]:
        """Fetch the answers that came since the last look."""
        waiting = [sent for sent, node in self._node_of.items() if node not in self.came]
        answers = self._grid.pull_messages(waiting)
        new = {self._node_of[answer.metadata.reply_to_message_id]: answer for answer in answers}
        self.came |= new
        return new


def exchange(
    grid: Grid,
    requests: Mapping[int, Request],
    *,
    group: str,
    seconds: float,
    optional: Mapping[int, Request] | None = None,
    optional_group: str = "",
    decides: str = "",
) -> Answers:
    """Send each node its request; wait until all have answered or `seconds` are over.

    Nodes in `optional` are asked as well. They are waited for GRACE_SECONDS at most once the others have answered, and
    nothing is missing when they stay silent. Nor is anyone waited for longer once a site has refused with the code
    `decides`: whatever the others say, nothing comes of this leg.
    """
    both = {**requests, **(optional or {})}
    records = {id(request): to_records(request) for request in both.values()}  # one for all sites is made once
    messages = {
        node: grid.create_message(
            records[id(request)], MESSAGE_TYPES[type(request)], node, group if node in requests else optional_group
        )
        for node, request in both.items()
    }
    asked = Asked(grid, messages)
    sent, came = sum(map(size, messages.values())), asked.came
    del messages, records  # they can be large, and the answers are as large again
    pause, ends, ready = Pause(FIRST_LOOK_SECONDS, SLOWEST_LOOK_SECONDS, 1.5), time.monotonic() + seconds, False
    while not asked.all_came and time.monotonic() < ends:
        if asked.look():
            pause.anew()
        decided = bool(decides) and any(_refused(message) == decides for message in came.values())
        if not ready and (decided or requests.keys() <= came.keys()):
            ready, ends = True, min(ends, time.monotonic() + GRACE_SECONDS)
        if not asked.all_came:
            time.sleep(pause.seconds)
            pause.longer()
    replies, missing = _sorted_out(both, came)
    declined = {node: why for node, why in missing.items() if node not in requests}
    missing = {node: why for node, why in missing.items() if node in requests}
    return Answers(replies, missing, declined, sent, sum(map(size, came.values())))


def _refused(message: Message) -> str:
    """The code of a refusal; "" of anything else."""
    with suppress(RunError):
        reply = None if message.has_error() else from_records(message.content)
        return reply.code if isinstance(reply, Refusal) else ""
    return ""


def size(message: Message) -> int:
    """Bytes of a message's content, without the transport's own framing."""
    if message.has_error():
        return 0
    return sum(_value_size(value) for record in message.content.values() for value in record.values())


def _value_size(value: object) -> int:
    """Flower's own count refuses empty texts."""
    if isinstance(value, Array):
        return len(value.data)
    if isinstance(value, (list, tuple)):
        return sum(map(_value_size, value))
    return len(value) if isinstance(value, (str, bytes)) else 8


def _sorted_out(
    requests: Mapping[int, Request], came: Mapping[int, Message]
) -> tuple[dict[int, Reply], dict[int, Why]]:
    replies: dict[int, Reply] = {}
    missing: dict[int, Why] = {node: Silence.SILENT for node in requests if node not in came}
    for node, message in came.items():
        if message.has_error():
            missing[node] = Silence.CONNECTION
            continue
        try:
            reply = from_records(message.content)
        except OtherProtocolError as error:
            missing[node] = Silence(error.in_short or Silence.UNREADABLE)
            continue
        except RunError:
            missing[node] = Silence.UNREADABLE
            continue
        if isinstance(reply, Refusal):
            missing[node] = Refused(reply.code)
        elif isinstance(reply, REPLIES[type(requests[node])]):
            replies[node] = reply
        else:
            missing[node] = Silence.UNREADABLE
    return replies, missing
