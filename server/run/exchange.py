"""One leg: a request to each of some sites, and what came back before the deadline. Own push and pull loop.

Flower's `send_and_receive` sleeps three seconds between looks; a secure sum has several legs a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flwr.app import Array, Message
from flwr.serverapp import Grid

from common.errors import ReleaseError, RunError
from common.messages import (
    FIRST,
    MESSAGE_TYPES,
    REPLIES,
    OtherProtocolError,
    Refusal,
    Reply,
    Request,
    from_records,
    spoken_in,
    to_records,
)
from common.pause import Pause
from server.lost import Refused, Silence, Speaks, Why

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
    decides: Callable[[Why], bool] | None = None,
    protocol: int = FIRST,
) -> Answers:
    """Send each node its request; wait until all have answered or `seconds` are over.

    Nodes in `optional` are asked as well. They are waited for GRACE_SECONDS at most once the others have answered, and
    nothing is missing when they stay silent. Nor is anyone waited for longer once `decides` is true of why one has
    given no answer: whatever the others say, nothing comes of this leg. `protocol`: in which all are asked, and answer.
    """
    both = {**requests, **(optional or {})}
    records = {id(request): to_records(request, protocol) for request in both.values()}  # one for all is made once
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
        decided = decides is not None and any(map(decides, _sorted_out(both, came, protocol)[1].values()))
        if not ready and (decided or requests.keys() <= came.keys()):
            ready, ends = True, min(ends, time.monotonic() + GRACE_SECONDS)
        if not asked.all_came:
            time.sleep(pause.seconds)
            pause.longer()
    replies, missing = _sorted_out(both, came, protocol)
    missing = {node: Silence.SILENT for node in both if node not in came} | missing
    declined = {node: why for node, why in missing.items() if node not in requests}
    missing = {node: why for node, why in missing.items() if node in requests}
    return Answers(replies, missing, declined, sent, sum(map(size, came.values())))


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
    requests: Mapping[int, Request], came: Mapping[int, Message], protocol: int
) -> tuple[dict[int, Reply], dict[int, Why]]:
    """The replies that the requests ask for; and of who sent something else, why that is none."""
    replies: dict[int, Reply] = {}
    missing: dict[int, Why] = {}
    for node, message in came.items():
        said = _said(message, REPLIES[type(requests[node])], protocol)
        if isinstance(said, Refused | Silence | Speaks):
            missing[node] = said
        else:
            replies[node] = said
    return replies, missing


def _said(message: Message, kind: type[Reply], protocol: int) -> Reply | Why:
    """A reply of this kind in the protocol that was asked; else why there is none."""
    if message.has_error():
        return Silence.CONNECTION
    try:
        spoken, reply = spoken_in(message.content), from_records(message.content)
    except OtherProtocolError as error:
        return Silence(error.in_short or Silence.UNREADABLE)
    except RunError:
        return Silence.UNREADABLE
    if isinstance(reply, Refusal):
        other = reply.code == ReleaseError.code and spoken < protocol
        return Speaks(spoken, protocol) if other else Refused(reply.code)
    return reply if isinstance(reply, kind) and spoken == protocol else Silence.UNREADABLE
