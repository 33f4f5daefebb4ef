"""Who takes part: every connected site is asked whether it is ready for this run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flwr.serverapp import Grid

from common.errors import BudgetError, RunError, SecureSumError
from common.identity.roster import Roster
from common.messages import FIRST, JoinReply, JoinRequest, Reply
from common.secure_sum.messages import Member
from server.lost import Refused, Silence, Speaks, Why
from server.run.exchange import exchange


@dataclass(frozen=True)
class Participant:
    """A site in this run: its node, and its signed consent to the next sum, with its modalities and share key."""

    node: int
    member: Member

    @property
    def site(self) -> str:
        return self.member.name

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.member.modalities

    @property
    def parts(self) -> tuple[str, ...]:
        return self.member.parts


def nodes_of(grid: Grid, expected: int, seconds: float) -> list[int]:
    """All connected nodes, once `expected` are there or the time is over."""
    ends = time.monotonic() + seconds
    while True:
        nodes = sorted(grid.get_node_ids())
        if len(nodes) >= expected or time.monotonic() > ends:
            return nodes
        time.sleep(0.2)


def invite(
    grid: Grid, nodes: Iterable[int], request: JoinRequest, roster: Roster, *, seconds: float, protocol: int = FIRST
) -> tuple[dict[int, Participant], dict[int, Why]]:
    """Ask these nodes to join: who consented, over the roster's signature; and why the others did not.

    Where they are asked whether a run can begin, the first that says no decides.
    """
    group, decides = f"{request.run}/{request.number}", _decides if request.first >= 0 else None
    asked = dict.fromkeys(nodes, request)
    answers = exchange(grid, asked, group=group, seconds=seconds, decides=decides, protocol=protocol)
    joined, missing = {}, dict(answers.missing)
    for node, reply in answers.replies.items():
        participant = participant_of(node, request, reply, roster)
        if participant is None:
            missing[node] = Silence.UNACCEPTABLE
        else:
            joined[node] = participant
    return joined, missing


def _decides(why: Why) -> bool:
    """Whether no run begins for it: a budget that does not carry it, or a release that cannot be asked."""
    return isinstance(why, Speaks) or (isinstance(why, Refused) and why.code == BudgetError.code)


def participant_of(node: int, request: JoinRequest, reply: Reply | None, roster: Roster) -> Participant | None:
    """The participant that a reply makes, unless it is not the consent that was asked for."""
    if not isinstance(reply, JoinReply):
        return None
    try:
        member = Member.from_bytes(reply.member)
        member.require_signed(roster)
    except SecureSumError:
        return None
    asked = (request.study, request.roster, request.run, request.number)
    said = (member.study.hex(), member.roster.hex(), member.run, member.number)
    return Participant(node, member) if said == asked else None


def require_distinct(participants: Mapping[int, Participant]) -> None:
    """Two nodes under one name would count one hospital twice."""
    names = [participant.site for participant in participants.values()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"Two nodes say that they are {', '.join(twice)}. Stop one of them.")
