"""Who takes part: every connected site is asked whether it is ready for this run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.serverapp import Grid

from common.errors import RunError
from common.messages import JoinReply, JoinRequest
from server.exchange import Answers, exchange


@dataclass(frozen=True)
class Participant:
    """A site in this run: its node, its modalities, and its share key for the next sum."""

    node: int
    site: str
    modalities: tuple[str, ...]
    share_key: bytes


def nodes_of(grid: Grid, expected: int, seconds: float) -> list[int]:
    """All connected nodes, once `expected` are there or the time is over."""
    ends = time.monotonic() + seconds
    while True:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) >= expected or time.monotonic() > ends:
            return nodes
        time.sleep(0.2)


def invite(
    grid: Grid, nodes: Iterable[int], *, run: str, study: str, seconds: float
) -> tuple[dict[int, Participant], Answers]:
    """Ask these nodes to join; the answers tell why some did not."""
    request = JoinRequest(run, study)
    answers = exchange(grid, dict.fromkeys(nodes, request), group=run, seconds=seconds)
    joined = {
        node: _participant(node, reply) for node, reply in answers.replies.items() if isinstance(reply, JoinReply)
    }
    return joined, answers


def require_distinct(participants: Mapping[int, Participant]) -> None:
    """Two nodes under one name would count one hospital twice."""
    names = [participant.site for participant in participants.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"Two nodes say that they are {', '.join(twice)}. Stop one of them.")


def _participant(node: int, reply: JoinReply) -> Participant:
    return Participant(node, reply.site, reply.modalities, reply.share_key)
